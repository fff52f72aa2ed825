"""Aggregation workers: the real PartitionWorker, LeaseSession, Lease and Retention, on virtual time.

More hostile than the real process around them: every worker tries for every partition all the time,
gives up what it owns for no reason, and some of them never look at whether their lease has lapsed by
their own clock: the fence alone must hold (I3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aggregate.partition_store import Acquired, PartitionStore
from aggregate.retention import Retention
from aggregate.worker import PartitionWorker
from grandstand.internal.v1.internal_pb2 import DeadLetter
from mesh.redis.database import RedisError
from mesh.redis.errors import Fenced, Rewound
from tests.simulation.blocks import rows_in
from tests.simulation.bus import ModelBus
from tests.simulation.checkpoints import ModelCheckpoints
from tests.simulation.mesh import Mesh
from tests.simulation.process import Process
from tests.simulation.redis import RedisClient
from tests.simulation.stream import FOREIGN


class CountedStore(PartitionStore):
    """Tells what it is used for."""

    mesh: Mesh
    index: int

    async def acquire(self, token: str) -> Acquired | None:
        acquired = await super().acquire(token)
        self.mesh.told.takeovers += acquired is not None
        return acquired

    async def flush(self, *arguments: Any, **named: Any) -> None:
        await super().flush(*arguments, **named)
        self.mesh.told.flushes += 1


class ModelLetters:
    """aggregate.deadletters.DeadLetters: nothing is set aside that ingest or the catalog wrote, but what is
    stored after its game was forgotten, long after its publish deadline: nobody was told that it counts."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            is_of_forgotten = any(row.game_id in self._mesh.forgotten for row in rows_in(letter.block))
            if not (letter.block.startswith(FOREIGN) or is_of_forgotten):
                self._mesh.world.fail(AssertionError(f"set aside: {letter.reason} at {letter.sequence}"))


class ModelWorker(Process):
    store_type: type[CountedStore] = CountedStore
    """Broken on purpose by some tests."""

    def __init__(self, mesh: Mesh, name: str, partitions: Sequence[int], *, retains: bool) -> None:
        """`retains`: it makes room in the event stream."""
        super().__init__(mesh.world, name)
        self._mesh = mesh
        self._partitions = partitions
        self._retains = retains
        self.born()

    def born(self) -> None:
        self.checks_lease = self.world.random.random() < 0.5
        bus: Any = ModelBus(self, self._mesh)
        self._bus = bus
        self._checkpoints: Any = ModelCheckpoints(bus)
        self.workers: dict[int, PartitionWorker] = {}
        self.loop.call_soon(self._begin)

    def _begin(self) -> None:
        for partition in self._partitions:
            self._take(partition)
        if self._retains:
            self.spawn(Retention(self._bus, self._checkpoints, lambda: list(self.workers.values())).run())

    def _take(self, partition: int) -> None:
        client: Any = RedisClient(self, self._mesh.redis)
        stored = self.store_type(client, partition, self.name)
        stored.mesh, stored.index = self._mesh, partition
        letters: Any = ModelLetters(self._mesh)
        worker = PartitionWorker(self._bus, stored, letters, self._checkpoints, partition)
        self.workers[partition] = worker
        self.spawn(self._until_given_up(worker))

    async def _until_given_up(self, worker: PartitionWorker) -> None:
        await worker.run()
        await asyncio.sleep(self.world.random.uniform(0.1, 1))
        self._take(worker.index)

    def give_up(self) -> None:
        """One of its partitions, gracefully."""
        if self.is_up and self.workers:
            worker = self.workers[self.world.random.choice(self._partitions)]
            self.loop.call_soon(worker.stop)

    def died(self) -> None:
        self.workers = {}


class Operator(Process):
    """Runs `rebuild`: takes a partition from whoever has it, and erases its state."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh.world, "operator")
        self._mesh = mesh

    def erase(self, partition: int) -> None:
        client: Any = RedisClient(self, self._mesh.redis)
        token = self.world.random.randbytes(8).hex()
        stored = PartitionStore(client, partition, self.name)
        self.spawn(stored.eraser.erase(token), Fenced, Rewound, RedisError)
