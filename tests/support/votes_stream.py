"""Votes put straight into the event stream's partitions, and what bare workers make of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

from redis.exceptions import ConnectionError as RedisConnectionError

from aggregate.deadletters import DeadLetters
from aggregate.partition_store import PartitionStore
from aggregate.retention import Checkpoints
from aggregate.worker import PartitionWorker
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.tasks import end
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import Database, connect
from mesh.redis.results import ResultStore
from tests.support import blocks
from tests.support.servers import eventually

PARTITIONS = range(wire_bounds.PARTITIONS)
_PACE_S = 0.02


class VotesStream:
    """A game that is spread over all partitions, its poll `mvp`, and everything that was voted in it."""

    def __init__(self, bus: Bus, database: Database) -> None:
        self.bus = bus
        self.database = database
        self.results = ResultStore(database)
        self.stored = [PartitionStore(database, p, "test") for p in PARTITIONS]
        self.acked = 0
        self.last: dict[int, int] = {}
        self._numbers = itertools.count(1)

    async def open(self) -> None:
        await self.bus.ensure_events_stream()
        for partition in PARTITIONS:
            await self.put(partition, blocks.control(blocks.poll()).SerializeToString())

    async def put(self, partition: int, data: bytes) -> int:
        """Any bytes, as a block of the partition; their sequence."""
        ack = await self.bus.js.publish(subjects.events(partition), data)
        self.last[partition] = max(ack.seq, self.last.get(partition, 0))
        return ack.seq

    async def vote(self, partition: int, votes: int = 3) -> int:
        """A block of votes of new actors."""
        rows = []
        for _ in range(votes):
            number = next(self._numbers)
            rows.append(blocks.vote(f"a{number}", "ab"[number % 2], blocks.origin(number), 1))
        sequence = await self.put(partition, blocks.block(rows).SerializeToString())
        self.acked += votes
        return sequence

    async def owners(self) -> dict[int, str]:
        """Who holds each partition's lease; "" for nobody."""
        leases = await asyncio.gather(*(self.database.string(layout.lease_key(p)) for p in PARTITIONS))
        return {p: lease.decode().partition(" ")[0] for p, lease in zip(PARTITIONS, leases, strict=True)}

    async def owned_by(self, *instances: str, within_s: float = 20.0) -> dict[int, str]:
        """Waits until exactly these own all partitions."""

        async def found() -> dict[int, str] | None:
            # A cluster's client drops the connections of other calls when it looks at its nodes again.
            with contextlib.suppress(RedisConnectionError):
                owners = await self.owners()
                return owners if set(owners.values()) == set(instances) else None
            return None

        return (await eventually(found, f"{instances} own all partitions", within_s)) or {}

    async def applied(self) -> dict[int, int]:
        found = await asyncio.gather(*(stored.applied() for stored in self.stored))
        return dict(zip(PARTITIONS, found, strict=True))

    async def voters(self, within_s: float = 20.0) -> int:
        """What is counted once everything is folded; the options' votes say the same."""
        positions = [Position(partition=p, sequence=s) for p, s in self.last.items()]
        shares = await self.results.read_at_least(blocks.GAME, wire_bounds.PARTITIONS, positions, within_s)
        tallies = [s.partials["poll/mvp"].tally for s in shares if "poll/mvp" in s.partials]
        voters = sum(tally.voters for tally in tallies)
        assert voters == sum(sum(tally.votes) for tally in tallies)
        return voters

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[Gaps]:
        """Votes flow into all partitions during the body, and the pauses of the folding are measured."""
        gaps = Gaps()
        stopping = asyncio.Event()
        flow = asyncio.create_task(self._flow(stopping))
        watch = asyncio.create_task(gaps.watch(self))
        try:
            await eventually(lambda: gaps.moved(), "all partitions fold")
            yield gaps
        finally:
            stopping.set()
            await end(watch)
            await flow
        if not watch.cancelled():
            watch.result()

    async def _flow(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            for partition in PARTITIONS:
                await self.vote(partition)
            await asyncio.sleep(_PACE_S)


class Gaps:
    """For each partition, the longest time that its applied sequence stood still."""

    def __init__(self) -> None:
        self._applied: dict[int, int] = {}
        self._moved_at: dict[int, float] = {}
        self._moves = dict.fromkeys(PARTITIONS, 0)
        self._longest_s = dict.fromkeys(PARTITIONS, 0.0)

    async def watch(self, votes: VotesStream) -> None:
        loop = asyncio.get_running_loop()
        while True:
            applied = await votes.applied()
            now = loop.time()
            for partition, sequence in applied.items():
                stood_s = now - self._moved_at.setdefault(partition, now)
                self._longest_s[partition] = max(self._longest_s[partition], stood_s)
                if self._applied.get(partition) != sequence:
                    self._applied[partition] = sequence
                    self._moved_at[partition] = now
                    self._moves[partition] += 1
            await asyncio.sleep(_PACE_S)

    async def moved(self, times: int = 3) -> bool:
        return min(self._moves.values()) >= times

    async def go_on(self) -> None:
        """Until every partition has moved on from here."""
        self._moves = dict.fromkeys(PARTITIONS, 0)
        await eventually(self.moved, "all partitions fold on")

    def start_over(self) -> None:
        """Forgets the pauses so far."""
        self._longest_s = dict.fromkeys(PARTITIONS, 0.0)

    def longest_s(self, partitions: object = PARTITIONS) -> float:
        assert isinstance(partitions, range | set | frozenset | list)
        return max(self._longest_s[p] for p in partitions)


@contextlib.asynccontextmanager
async def votes_stream(nats_url: str, redis_url: str) -> AsyncIterator[VotesStream]:
    """Opened: the poll is in every partition."""
    bus = await Bus.connect(nats_url, "test")
    database = connect(redis_url)
    try:
        votes = VotesStream(bus, database)
        await votes.open()
        yield votes
    finally:
        await database.aclose()
        await bus.close()


@contextlib.asynccontextmanager
async def owner(votes: VotesStream, partition: int, name: str = "one") -> AsyncIterator[PartitionWorker]:
    """In this process, so that its steps can be held up."""
    stored = PartitionStore(votes.database, partition, name)
    worker = PartitionWorker(votes.bus, stored, DeadLetters(votes.bus), Checkpoints(votes.bus), partition)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task
