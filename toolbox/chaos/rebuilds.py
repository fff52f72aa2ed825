"""Rebuilds under load, with viewers and readers beside them who look for the first time.

Before the rebuild begins, the results are read at the acked positions: all of that is folded. Whoever looks
first from then on has no cursor and no position, and must be shown no less (see `floor`); no answer in time
is allowed (UNAVAILABLE says that a partition is being rebuilt), and counted.

Bound: one first look of each kind and game at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Any

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, TopicState
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.client import ClientError
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from toolbox.chaos.entries import Book
from toolbox.chaos.floor import Floor, below, floor
from toolbox.chaos.stage import Mesh
from toolbox.chaos.strike import ONE
from toolbox.local import provision

# Longer than the 5 s after which the server itself answers.
_ATTEMPT_S = 6.0
_PAUSE_S = 0.1
_PATIENCE_S = 20.0
"""Workers that were struck are back and have caught up within this, also on a machine with much to do."""
# A gateway shows within this what is folded, also on a machine with much to do.
_SHOWN_S = 0.5
_BESIDE_S = 1.5
_REBUILT_S = 60.0
_NOTES_MAX = 20
_NOT_NOW = "does not answer"
"""What `rebuild` says when a store is away: chaos may have struck it."""


class Rebuilds:
    """`read` reads a game's results at the acked positions; it raises ClientError."""

    def __init__(
        self,
        seed: int,
        mesh: Mesh,
        book: Book,
        games: Sequence[str],
        channel: grpc.aio.Channel,
        read: Callable[[str], Awaitable[object]],
    ) -> None:
        self.done = 0
        self.first_views = 0
        self.unanswered = 0
        self.fractions = 0
        self.notes: list[str] = []
        self._random = Random(f"rebuild {seed}")
        self._mesh = mesh
        self._book = book
        self._games = games
        self._read_all = read
        self._aggregate: Any = AggregateServiceStub(channel)
        self._gateway: Any = GatewayServiceStub(channel)

    async def run(self, target: str) -> bool:
        """One rebuild, tried for `_PATIENCE_S`; False when it could not be carried out."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _PATIENCE_S
        while True:
            if await self._attempt(target):
                return True
            if loop.time() > give_up_at:
                return False
            await asyncio.sleep(_PAUSE_S)

    async def _attempt(self, target: str) -> bool:
        floors = {game: floor(self._book.entries, game) for game in self._games}
        if not self._book.positions:
            return False
        try:
            await asyncio.gather(*(self._read_all(game) for game in self._games))
        except ClientError:
            return False
        over = asyncio.Event()
        looking = [
            asyncio.create_task(look(game, floors[game], over))
            for game in self._games
            for look in (self._viewers, self._readers)
        ]
        try:
            done = await self._rebuild(target)
            await asyncio.sleep(_BESIDE_S)
        finally:
            over.set()
            await asyncio.gather(*looking, return_exceptions=True)
        self.done += done
        return done

    async def _rebuild(self, target: str) -> bool:
        only = ["--partition", str(self._random.choice(sorted(self._book.positions)))]
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-P",
                "-m",
                "toolbox.cli",
                "rebuild",
                "--home",
                str(self._mesh.home),
                "--yes",
                "--json",
            ),
            *(only if target == ONE else ()),
            cwd=provision.checkout(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_REBUILT_S):
                out, err = await process.communicate()
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                self._note(f"a rebuild of {target} took more than {_REBUILT_S:g} s")
                return False
            raise
        if process.returncode == 0:
            return bool(json.loads(out))
        said = err.decode(errors="replace").strip()
        if _NOT_NOW not in said:
            self._note(f"a rebuild of {target} failed: {said[-300:]}")
        return False

    async def _viewers(self, game_id: str, least: Floor, over: asyncio.Event) -> None:
        await asyncio.sleep(_SHOWN_S)
        for n in itertools.count():
            if over.is_set():
                return
            call = self._gateway.Subscribe(
                SubscribeRequest(game_id=game_id, topics=["*"]), timeout=_ATTEMPT_S
            )
            try:
                message = await call.read()
                if message is grpc.aio.EOF:
                    self.unanswered += 1
                else:
                    self._judge(f"viewer {n} of {game_id}", least, message.snapshot.topics)
            except grpc.aio.AioRpcError:
                self.unanswered += 1
            finally:
                call.cancel()
            await asyncio.sleep(_PAUSE_S)

    async def _readers(self, game_id: str, least: Floor, over: asyncio.Event) -> None:
        for n in itertools.count():
            if over.is_set():
                return
            try:
                answer = await self._aggregate.Read(
                    ReadRequest(game_id=game_id, topics=["*"]), timeout=_ATTEMPT_S
                )
                self._judge(f"reader {n} of {game_id}", least, answer.topics)
            except grpc.aio.AioRpcError:
                self.unanswered += 1
            await asyncio.sleep(_PAUSE_S)

    def _judge(self, who: str, least: Floor, shown: Iterable[TopicState]) -> None:
        self.first_views += 1
        if short := list(below(least, shown)):
            self.fractions += 1
            self._note(f"{who} was shown a fraction first: {short[0]} ({len(short)} topics)")

    def _note(self, what: str) -> None:
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(what)
