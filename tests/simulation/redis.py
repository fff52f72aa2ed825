"""Redis: one primary, or two while the network is split, of which one's writes are lost in the end.

A process asks the side that it reached when the split began. Reads of one purpose are several requests:
between two of them the state may change under the reader, or go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from mesh.redis.database import Argument, Script
from tests.simulation.cuts import Cuts
from tests.simulation.database import ModelDatabase
from tests.simulation.process import Process
from tests.simulation.world import World

_FAULTS = ("before", "after", "twice")
_PATIENCE_S = 1.0
_SLOW = 0.02


class ModelRedis:
    def __init__(self, world: World, cuts: Cuts, database: type[ModelDatabase]) -> None:
        self.world = world
        self.cuts = cuts
        self._database = database
        self._sides = [self._made()]
        self._side_of: dict[str, int] = {}
        self._snapshots = [self._sides[0].snapshot()]
        self.went_back = 0
        """How often what was stored may have become what it was."""

    def _made(self) -> ModelDatabase:
        return self._database(lambda: self.world.now_s, self._fault)

    def _fault(self) -> str:
        return self.world.random.choice(_FAULTS) if self.world.odds(0.02) else ""

    def of(self, name: str) -> ModelDatabase:
        """What the process of that name reaches."""
        if len(self._sides) == 1:
            return self._sides[0]
        return self._sides[self._side_of.setdefault(name, self.world.random.randrange(2))]

    @property
    def is_one(self) -> bool:
        return len(self._sides) == 1

    @property
    def primary(self) -> ModelDatabase:
        return self._sides[0]

    # What happens to it.

    def keep(self) -> None:
        """As it is now: a backup, or a replica that falls behind from here on."""
        self._snapshots.append(self._any().snapshot())

    def empty(self) -> None:
        self._any().empty()

    def restore(self) -> None:
        random = self.world.random
        self._any().restore(random.choice(self._snapshots if random.random() < 0.5 else self._snapshots[-3:]))
        self.went_back += 1

    def lose_key(self) -> bool:
        """A single key of a state is gone, or as it was; False if there is none."""
        side = self._any()
        values = side.snapshot()[0]
        names = sorted(name for name in values if not name.endswith((":lease", ":stream", ":applied")))
        if not names:
            return False
        name = self.world.random.choice(names)
        side.put_back(name, self.world.random.choice([({}, {}), *self._snapshots])[0].get(name))
        self.went_back += 1
        return True

    def split(self, for_s: float) -> bool:
        """Two primaries, with the same state at first. False if there are two already."""
        if len(self._sides) > 1:
            return False
        other = self._made()
        other.restore(self._sides[0].snapshot())
        self._sides.append(other)
        self._side_of = {}
        self.world.after(for_s, self._heal)
        return True

    def _heal(self) -> None:
        self._sides = [self.world.random.choice(self._sides)]
        self.went_back += 1

    def _any(self) -> ModelDatabase:
        return self.world.random.choice(self._sides)


class RedisClient:
    """mesh.redis.database.Database of one process."""

    def __init__(self, process: Process, redis: ModelRedis) -> None:
        self._process = process
        self._redis = redis

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        await self._travel()
        return await self._redis.of(self._process.name).run(script, keys, arguments)

    async def is_cluster(self) -> bool:
        return False

    async def hash(self, key: str) -> dict[bytes, bytes]:
        await self._travel()
        return await self._redis.of(self._process.name).hash(key)

    async def string(self, key: str) -> bytes:
        await self._travel()
        return await self._redis.of(self._process.name).string(key)

    async def strings(self, keys: Sequence[str]) -> list[bytes]:
        await self._travel()
        redis = self._redis.of(self._process.name)
        return [await redis.string(key) for key in keys]

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        await self._travel()
        return await self._redis.of(self._process.name).fields(key, names)

    async def names(self, key: str) -> list[bytes]:
        await self._travel()
        return await self._redis.of(self._process.name).names(key)

    async def ranking(self, key: str) -> list[tuple[bytes, float]]:
        await self._travel()
        return await self._redis.of(self._process.name).ranking(key)

    async def _travel(self) -> None:
        left_s = self._redis.cuts.left_s(self._process.name, "redis")
        if left_s:
            await asyncio.sleep(min(left_s, _PATIENCE_S))
            raise RedisConnectionError("simulated: no answer in time")
        random = self._redis.world.random
        drawn = random.random()
        if drawn < 0.3:
            await asyncio.sleep(random.expovariate(1 / (0.003 if drawn > _SLOW else 0.3)))
