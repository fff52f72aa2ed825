"""Votes in thousands of games, by one producer's stream: `python -m bench._games_votes PORT HOME GAMES NAME`.

It answers each line by one JSON object:

    vote RATE COUNT AT   COUNT votes, RATE a second, the first due at AT microseconds of the machine's
                         monotonic clock; game after game in turn, each vote a new actor's. Says what became
                         of them, once all are acked

What is due is sent together every _TURN_S, in one message. Late votes are sent at once, and count from when
they were due (`bench._games_crowd.Schedule`).
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench._child import READY
from bench._drive import PATH
from bench._frames import message
from bench._h2 import H2Error, RawConnection
from bench._messages import HEARTBEAT, hello
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, PublishRequest, PublishResponse
from grandstand.wire import bounds as wire_bounds
from mesh.auth import PRODUCER
from toolbox.local import development

POLL_ID = "final"
OPTIONS = ("red", "blue", "green", "gold")
STDIN = 0
_BATCH = 256
_TURN_S = 0.002
_PATIENCE_S = 30.0
_TOKEN_LIFE_S = 3600.0


def game_id(name: str, number: int) -> str:
    return f"{name}-{number}"


class Voter:
    """One Publish stream."""

    def __init__(self, port: int, home: Path, games: int, name: str) -> None:
        """Raises OSError, H2Error."""
        self._games = [game_id(name, number) for number in range(games)]
        self._votes = [Vote(poll_id=POLL_ID, option_ids=[each]) for each in OPTIONS]
        token = development.development_token(
            home, development.LOCAL_PRODUCER, roles=(PRODUCER,), life_s=_TOKEN_LIFE_S
        )
        self._connection = RawConnection("127.0.0.1", port, PATH)
        self._stream = self._connection.open([("authorization", f"Bearer {token}")])
        self._poll = select.epoll()
        self._poll.register(self._connection.socket.fileno(), select.EPOLLIN)
        self._poll.register(STDIN, select.EPOLLIN)
        self._credit = self._sent = self._acked = self._spoke = 0
        self._spoke_s = 0.0
        self._rejected: dict[str, int] = {}
        self._connection.send(self._stream, hello("", producer=True))
        self._until(lambda: self._credit > 0, "a Welcome")

    def vote(self, rate: float, count: int, begin_us: int) -> dict[str, object]:
        """Until they are acked. Raises H2Error."""
        begin_s = begin_us / 1e6
        first, own_s = self._sent, time.process_time()
        late_s = 0.0
        rejected = sum(self._rejected.values())
        while (done := self._sent - first) < count:
            now_s = time.monotonic()
            due = min(count, int((now_s - begin_s) * rate) + 1) if now_s >= begin_s else 0
            room = self._credit - (self._sent - self._acked)
            if due > done and room > 0:
                late_s = max(late_s, now_s - begin_s - done / rate)
                self._send(min(due - done, room, _BATCH))
            self._turn(_TURN_S if due - done <= _BATCH else 0.0)
        self._until(lambda: self._acked == self._sent, "the last ack")
        return {
            "sent": count,
            "rejected": sum(self._rejected.values()) - rejected,
            "why": next(iter(self._rejected), ""),
            "late_ms": round(1_000 * late_s, 1),
            "cpu_s": round(time.process_time() - own_s, 3),
        }

    def serve(self) -> None:
        """Raises H2Error."""
        print(READY, flush=True)
        while True:
            if self._turn(1.0):
                line = sys.stdin.readline()
                if not line:
                    return
                _, rate, count, begin_us = line.split()
                print(json.dumps(self.vote(float(rate), int(count), int(begin_us))), flush=True)

    def _send(self, count: int) -> None:
        events = [
            Event(
                origin_seq=number + 1,
                game_id=self._games[number % len(self._games)],
                actor_id=f"voter-{number}",
                vote=self._votes[number // len(self._games) % len(OPTIONS)],
            )
            for number in range(self._sent, self._sent + count)
        ]
        data = message(PublishRequest(events=EventBatch(events=events)).SerializeToString())
        self._until(lambda: self._connection.room(self._stream) >= len(data), "a window")
        self._connection.send(self._stream, data)
        self._sent += count
        self._spoke_s = time.monotonic()

    def _turn(self, wait_s: float) -> bool:
        """True when there is a line to read."""
        if time.monotonic() > self._spoke_s + wire_bounds.PUBLISH_HEARTBEAT_S / 2 and self._credit:
            self._connection.send(self._stream, HEARTBEAT)
            self._spoke_s = time.monotonic()
        self._connection.flush()
        asked = False
        for fd, _ in self._poll.poll(wait_s):
            if fd == STDIN:
                asked = True
                continue
            for _, data in self._connection.receive():
                self._take(data)
            if self._connection.ended:
                raise H2Error(f"the stream was ended: {self._connection.ended}")
        return asked

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
            self._rejected[why] = self._rejected.get(why, 0) + 1

    def _until(self, done: Callable[[], bool], what: str) -> None:
        acked, until_s = -1, 0.0
        while not done():
            if self._acked > acked:
                acked, until_s = self._acked, time.monotonic() + _PATIENCE_S
            if time.monotonic() > until_s:
                raise H2Error(f"{what} did not come within {_PATIENCE_S:g} s")
            self._turn(_TURN_S)


def main() -> None:
    port, home, games, name = sys.argv[1:]
    try:
        Voter(int(port), Path(home), int(games), name).serve()
    except (H2Error, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
