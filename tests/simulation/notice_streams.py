"""JetStream as notify sees it: streams of notices, readers and segments, whose messages are kept by subject.

A message is stored if the last one of its subject is the one that its publisher expects. What is asked may
not arrive, and the answer may be lost; consumers are late, break, or fall silent unnoticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mesh.jetstream import subjects
from mesh.jetstream.bus import first_sequence
from mesh.jetstream.ordered_consumer import Delivered
from mesh.jetstream.pull import PullBroken, Pulled
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.bus import ModelBus

NAMES = (subjects.NOTICES_STREAM, subjects.READERS_STREAM, subjects.SEGMENTS_STREAM)
_BATCH_MAX = 6
_MEAN_S = 0.003


@dataclass(frozen=True, slots=True)
class Kept:
    sequence: int
    subject: str
    data: bytes
    stored_at_s: float
    """By the leader's clock."""
    true_s: float


class SubjectStream:
    def __init__(self, world: World, clock: Callable[[], float], *, keeps_newest: bool) -> None:
        """`clock`: the leader's. `keeps_newest`: of a subject the newest message alone."""
        self._clock = clock
        self._keeps_newest = keeps_newest
        made_at = datetime.datetime.fromtimestamp(world.now_s, datetime.UTC)
        self.identity = made_at.isoformat()
        self.last = first_sequence(made_at) - 1
        self._world = world
        self.messages: dict[int, Kept] = {}
        self.consumers: list[Callable[[Kept], None]] = []

    def store(self, subject: str, data: bytes, expected: int | None) -> int:
        """Its sequence; 0: the last one of the subject is not `expected`."""
        if expected is not None:
            found = self.last_of(subject)
            if (found.sequence if found else 0) != expected:
                return 0
        if self._keeps_newest:
            self.purge(subject, self.last + 1)
        self.last += 1
        kept = self.messages[self.last] = Kept(self.last, subject, data, self._clock(), self._world.now_s)
        for consumer in list(self.consumers):
            consumer(kept)
        return kept.sequence

    def of(self, filters: Sequence[str], start: int = 0) -> list[Kept]:
        return [
            each
            for each in self.messages.values()
            if each.sequence >= start and any(matches(pattern, each.subject) for pattern in filters)
        ]

    def last_of(self, pattern: str) -> Kept | None:
        return max(self.of([pattern]), key=lambda each: each.sequence, default=None)

    def purge(self, pattern: str, below: int) -> None:
        for each in self.of([pattern]):
            if not below or each.sequence < below:
                del self.messages[each.sequence]

    def answer(self, subject: str, data: bytes, expected: int | None) -> bytes:
        """As the server does to a publish."""
        sequence = self.store(subject, data, expected)
        if sequence:
            return json.dumps({"stream": "S", "seq": sequence}).encode()
        error = {"code": 400, "err_code": 10071, "description": "wrong last sequence"}
        return json.dumps({"error": error}).encode()


def matches(pattern: str, subject: str) -> bool:
    if pattern == subject:
        return True
    tokens, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        tokens, wanted = tokens[: len(wanted) - 1], wanted[:-1]
        if len(subject.split(".")) <= len(wanted):
            return False
    return len(tokens) == len(wanted) and all(
        want in ("*", token) for want, token in zip(wanted, tokens, strict=True)
    )


class NoticePull:
    """mesh.jetstream.pull.Pull, without a name."""

    def __init__(self, bus: ModelBus, stream: str, filters: Sequence[str]) -> None:
        self._bus = bus
        self._process = bus.process
        self._stream = bus.mesh.notice_streams[stream]
        self._filters = filters
        self._life = bus.process.life
        self._at = 0
        self._arrived = asyncio.Event()
        self.pending = 0

    async def open(self, start_sequence: int) -> None:
        self._at = start_sequence
        self.pending = await self._bus.ask(self._begin)

    def _begin(self) -> int:
        self._stream.consumers.append(self._stored)
        self._arrived.set()
        return len(self._stream.of(self._filters, self._at))

    async def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._stream.consumers.remove(self._stored)

    def _stored(self, kept: Kept) -> None:
        process, life = self._process, self._life

        def arrive() -> None:
            process.in_turn(lambda: process.loop.call_soon(self._arrived.set), life)

        self._bus.mesh.cuts.through(process.name, "events", arrive, _MEAN_S)

    async def next(self, patience_s: float) -> list[Pulled]:
        world = self._process.world
        if not self._arrived.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        self._arrived.clear()
        if world.odds(0.01):
            raise PullBroken("simulated: the consumer is gone")
        if self._bus.mesh.cuts.left_s(self._process.name, "events"):
            return []
        ahead = self._stream.of(self._filters, self._at)
        batch = ahead[: world.random.randint(1, _BATCH_MAX)]
        if len(batch) < len(ahead):
            self._arrived.set()
        if batch:
            self._at = batch[-1].sequence + 1
        return [Pulled(each.subject, each.sequence, each.data, None, each.stored_at_s) for each in batch]


class NoticeConsumer:
    """mesh.jetstream.ordered_consumer.OrderedConsumer over these streams."""

    def __init__(
        self, bus: ModelBus, on_message: Callable[[Delivered], None], on_broken: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._process = bus.process
        self._life = bus.process.life
        self._on_message = on_message
        self._on_broken = on_broken
        self._queue: deque[Kept] = deque()
        self._filters: Sequence[str] = ()
        self._stream: SubjectStream | None = None
        self._silent_since_s: float | None = None

    @property
    def heard_s(self) -> float:
        """One that lives sends heartbeats."""
        return self._process.boot_s if self._silent_since_s is None else self._silent_since_s

    async def open(
        self,
        stream: str,
        filters: Sequence[str],
        *,
        new_only: bool = False,
        heartbeat_s: float | None = None,
    ) -> int:
        self._filters = filters
        found: int = await self._bus.ask(lambda: self._begin(self._bus.mesh.notice_streams[stream], new_only))
        return found

    def _begin(self, stream: SubjectStream, new_only: bool) -> int:
        self._stream = stream
        stream.consumers.append(self._stored)
        newest = {each.subject: each for each in stream.of(self._filters)}
        there = [] if new_only else sorted(newest.values(), key=lambda each: each.sequence)
        for each in there:
            self._send(each)
        return len(there)

    async def close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(ValueError):
                self._stream.consumers.remove(self._stored)
        self._queue.clear()

    def _stored(self, kept: Kept) -> None:
        if any(matches(pattern, kept.subject) for pattern in self._filters):
            self._send(kept)

    def _send(self, kept: Kept) -> None:
        world = self._process.world
        left_s = self._bus.mesh.cuts.left_s(self._process.name, "events")
        if self._silent_since_s is not None:
            return
        if world.odds(0.005) or (left_s and world.random.random() < 0.3):
            self._silent_since_s = self._process.boot_s
            return
        self._queue.append(kept)
        delay_s = left_s + world.random.expovariate(1 / _MEAN_S)
        world.after(delay_s, lambda: self._process.in_turn(self._next, self._life))

    def _next(self) -> None:
        """One for each that was stored, whichever is due: in their order."""
        if not self._queue:
            return
        kept = self._queue.popleft()
        if self._process.world.odds(0.005):
            self._silent_since_s = self._process.boot_s
            self._queue.clear()
            self._process.loop.call_soon(self._on_broken, "simulated: a message is missing")
            return
        message = Delivered(kept.subject, kept.sequence, kept.stored_at_s, kept.data)
        self._process.loop.call_soon(self._on_message, message)


def stream_of(streams: dict[str, SubjectStream], subject: str) -> SubjectStream | None:
    """The stream that takes the subject."""
    return streams.get(subject.partition(".")[0].upper())


def expected_in(headers: Any) -> int | None:
    value = (headers or {}).get("Nats-Expected-Last-Subject-Sequence")
    return None if value is None else int(value)


def made(world: World, clock: Callable[[], float], names: Iterable[str] = NAMES) -> dict[str, SubjectStream]:
    return {name: SubjectStream(world, clock, keeps_newest=name != subjects.NOTICES_STREAM) for name in names}
