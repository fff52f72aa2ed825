"""The bucket of checkpoints: what aggregate.retention.Checkpoints does, over the modelled network."""

from __future__ import annotations

import asyncio

from aggregate.retention import CheckpointUnreadable
from grandstand.internal.v1.internal_pb2 import Checkpoint
from tests.simulation.bus import ModelBus
from tests.simulation.told import Told

Name = tuple[int, str, int]

_STORED_AFTER_S = 0.3
"""On average: a checkpoint is large."""


class ModelObjects:
    """What the bucket holds. The operator may delete it whole."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._objects: dict[Name, bytes] = {}

    def put(self, checkpoint: Checkpoint, floor: int) -> None:
        """Forgets the older ones of its partition, but the one at `floor`."""
        self._told.checkpoints += 1
        new = (checkpoint.partition, checkpoint.stream, checkpoint.applied)
        self._objects[new] = checkpoint.SerializeToString()
        self._objects = {
            name: data
            for name, data in self._objects.items()
            if name[:2] != new[:2] or name[2] >= new[2] or name[2] == floor
        }

    def newest(self, partition: int, stream: str) -> int:
        return max((name[2] for name in self._objects if name[:2] == (partition, stream)), default=0)

    def get(self, name: Name) -> Checkpoint:
        """Raises CheckpointUnreadable."""
        if name not in self._objects:
            raise CheckpointUnreadable(f"checkpoint {name} is gone")
        self._told.checkpoints_restored += 1
        return Checkpoint.FromString(self._objects[name])

    def delete(self) -> dict[Name, bytes]:
        """All of it; what was there."""
        had, self._objects = self._objects, {}
        return had

    def add(self, objects: dict[Name, bytes]) -> None:
        self._objects = {**objects, **self._objects}


class ModelCheckpoints:
    """aggregate.retention.Checkpoints of one process."""

    def __init__(self, bus: ModelBus) -> None:
        self._bus = bus

    async def newest(self, partition: int, stream: str) -> int:
        objects = self._bus.mesh.objects
        return await self._bus.ask(lambda: objects.newest(partition, stream))

    async def get(self, partition: int, stream: str, applied: int) -> Checkpoint:
        objects = self._bus.mesh.objects
        return await self._bus.ask(lambda: objects.get((partition, stream, applied)))

    async def put(self, checkpoint: Checkpoint, floor: int) -> None:
        objects = self._bus.mesh.objects
        await asyncio.sleep(self._bus.mesh.world.random.expovariate(1 / _STORED_AFTER_S))
        await self._bus.ask(lambda: objects.put(checkpoint, floor))
