"""Readers of a run: whoever is given the positions of an ack sees its event, also while things die (I6).

A reader takes the score that was acked last on a board that sums, and asks for the board at
the positions of its ack, by Read and by a new Subscribe in turn. An answer must show the score; no
answer in time (DEADLINE_EXCEEDED, UNAVAILABLE) is allowed while the mesh recovers, and counted.

Bound: one question at a time for each reader, one score waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, ReadResponse, TopicState
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from toolbox.chaos import scene
from toolbox.chaos.checker import shows_score
from toolbox.chaos.entries import Entry

# Longer than the 5 s after which the server itself answers DEADLINE_EXCEEDED.
_ATTEMPT_S = 6.0
_PAUSE_S = 0.05
_SEASON_ATTEMPT_S = 2.0
_SEASON_PAUSE_S = 0.4
_NOTES_MAX = 20


class ResultReader:
    """Asks for one game's boards, again and again."""

    def __init__(self, channel: grpc.aio.Channel, game_id: str) -> None:
        self.game_id = game_id
        self.answered = 0
        self.unanswered = 0
        self.notes: list[str] = []
        self._aggregate: Any = AggregateServiceStub(channel)
        self._gateway: Any = GatewayServiceStub(channel)
        self._newest: tuple[Entry, list[Position]] | None = None
        self._woken = asyncio.Event()

    def acked(self, entry: Entry, positions: Iterable[Position]) -> None:
        """A score on a board that sums is stored; the newest is asked for next."""
        self._newest = entry, list(positions)
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        for ask in itertools.cycle((self._read, self._subscribe)):
            await self._woken.wait()
            self._woken.clear()
            assert self._newest is not None
            entry, positions = self._newest
            try:
                states = await ask(entry.topic, positions)
            except grpc.aio.AioRpcError:
                self.unanswered += 1
            else:
                self.answered += 1
                if not any(shows_score(state.board, entry) for state in states if state.topic == entry.topic):
                    self._note(
                        f"{ask.__name__.strip('_')} at {_said(positions)} did not show {_named(entry)}"
                    )
            await asyncio.sleep(_PAUSE_S)

    async def _read(self, topic: str, positions: list[Position]) -> Iterable[TopicState]:
        request = ReadRequest(game_id=self.game_id, topics=[topic], positions=positions)
        answer: ReadResponse = await self._aggregate.Read(request, timeout=_ATTEMPT_S)
        return answer.topics

    async def _subscribe(self, topic: str, positions: list[Position]) -> Iterable[TopicState]:
        """What the first message shows."""
        request = SubscribeRequest(game_id=self.game_id, topics=[topic], positions=positions)
        call = self._gateway.Subscribe(request, timeout=_ATTEMPT_S)
        try:
            message = await call.read()
        finally:
            call.cancel()
        return message.snapshot.topics if message is not grpc.aio.EOF else []

    def _note(self, what: str) -> None:
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(f"a reader of {self.game_id}: {what} (I6)")


class SeasonReader:
    """Reads one game's boards with seasons all the time: whoever watches only may miss the end of one."""

    def __init__(
        self, channel: grpc.aio.Channel, game_id: str, on_state: Callable[[str, TopicState], None]
    ) -> None:
        self._game_id = game_id
        self._on_state = on_state
        self._aggregate: Any = AggregateServiceStub(channel)

    async def run(self) -> None:
        """Until cancelled."""
        request = ReadRequest(game_id=self._game_id, topics=[f"board/{name}" for name in scene.SEASON_BOARDS])
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await self._aggregate.Read(request, timeout=_SEASON_ATTEMPT_S)
                for state in answer.topics:
                    self._on_state(self._game_id, state)
            await asyncio.sleep(_SEASON_PAUSE_S)


def _said(positions: Iterable[Position]) -> str:
    return ", ".join(f"{position.partition}:{position.sequence}" for position in positions)


def _named(entry: Entry) -> str:
    return f"score {entry.order + 1} of {entry.actor_id} on {entry.topic}"
