"""Votes in thousands of games by a producer's Publish stream, each vote a new actor's."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench._drive import PATH
from bench._frames import message
from bench._games_schedule import TURN_S
from bench._h2 import H2Error, RawConnection
from bench._messages import HEARTBEAT, hello
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, PublishRequest, PublishResponse
from grandstand.wire import bounds as wire_bounds
from mesh.auth import PRODUCER
from toolbox.local import development

POLL_ID = "final"
OPTIONS = ("red", "blue", "green", "gold")
_BATCH = 256
_PATIENCE_S = 30.0
_TOKEN_LIFE_S = 3600.0


class Voter:
    """Opens its stream at once. Its calls raise H2Error, OSError."""

    def __init__(self, port: int, home: Path, games: Sequence[str]) -> None:
        self.refused: dict[str, int] = {}
        """By what was said."""
        self._games = games
        self._votes = [Vote(poll_id=POLL_ID, option_ids=[each]) for each in OPTIONS]
        self._connection = RawConnection("127.0.0.1", port, PATH)
        token = development.development_token(
            home, development.LOCAL_PRODUCER, roles=(PRODUCER,), life_s=_TOKEN_LIFE_S
        )
        self._stream = self._connection.open([("authorization", f"Bearer {token}")])
        self._poll = select.epoll()
        self._poll.register(self._connection.socket.fileno(), select.EPOLLIN)
        self._credit = self._sent = self._acked = 0
        self._spoke_s = time.monotonic()
        self._connection.send(self._stream, hello("", producer=True))
        self._until(lambda: self._credit > 0, "a Welcome")

    def send(self, first: int, base: int, count: int) -> int:
        """Votes from the phase's `first` on, as many of `count` as credit and window allow; how many."""
        count = min(count, self._credit - (self._sent - self._acked), _BATCH)
        if count <= 0:
            return 0
        games, votes, who = self._games, self._votes, os.getpid()
        events = [
            Event(
                origin_seq=self._sent + at + 1,
                game_id=games[(first + at) % len(games)],
                actor_id=f"{who}-{self._sent + at}",
                vote=votes[(base + (first + at) // len(games)) % len(votes)],
            )
            for at in range(count)
        ]
        data = message(PublishRequest(events=EventBatch(events=events)).SerializeToString())
        if self._connection.room(self._stream) < len(data):
            return 0
        self._connection.send(self._stream, data)
        self._sent += count
        self._spoke_s = time.monotonic()
        return count

    def turn(self, wait_s: float) -> None:
        """Sends what waits to be sent and takes what comes, waiting for it at most so long."""
        if time.monotonic() > self._spoke_s + wire_bounds.PUBLISH_HEARTBEAT_S / 2 and self._credit:
            self._connection.send(self._stream, HEARTBEAT)
            self._spoke_s = time.monotonic()
        self._connection.flush()
        if self._poll.poll(wait_s):
            for _, data in self._connection.receive():
                self._take(data)
            if self._connection.ended:
                raise H2Error(f"the stream was ended: {self._connection.ended[self._stream]}")

    def finish(self) -> None:
        """Until all are acked."""
        self._until(lambda: self._acked == self._sent, "the last ack")

    def _take(self, data: bytes) -> None:
        response = PublishResponse.FromString(data)
        kind = response.WhichOneof("message")
        if kind == "ack":
            self._acked = max(self._acked, response.ack.origin_seq)
        elif kind == "credit":
            self._credit = response.credit.credit
        elif kind == "welcome":
            self._credit = response.welcome.credit
        elif kind == "reject":
            why = response.reject.message
            self.refused[why] = self.refused.get(why, 0) + 1

    def _until(self, done: Callable[[], bool], what: str) -> None:
        acked, until_s = -1, 0.0
        while not done():
            if self._acked > acked:
                acked, until_s = self._acked, time.monotonic() + _PATIENCE_S
            if time.monotonic() > until_s:
                raise H2Error(f"{what} did not come within {_PATIENCE_S:g} s")
            self.turn(TURN_S)


def games_in(text: str) -> list[str]:
    """What a process is told of its games: "NAME*COUNT" for NAME-0, NAME-1 and so on, or all, with commas."""
    name, many, count = text.partition("*")
    return [f"{name}-{number}" for number in range(int(count))] if many else text.split(",")
