"""How far partitions are folded. All that wait, for whichever partitions, share looks at Redis.

A look reads all partitions that are waited for, with one call (on a cluster, one for each). It is made at
once, FIRST_WAIT_S after it again, and then after growing pauses; somebody new shortens the pause. So waiting
costs one small call each FIRST_WAIT_S at most, however many wait for however many partitions.

Bounds: the callers' own; one task while anybody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from mesh import telemetry
from mesh.redis import layout
from mesh.redis.database import Database, RedisError

FIRST_WAIT_S = 0.008
WAIT_MAX_S = 0.05

_Waiters = dict[asyncio.Future[None], int]


class AppliedLooks:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions: dict[int, _Waiters] = {}
        """Of each partition that is waited for: for which sequences."""
        self._somebody_new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def until(self, partition: int, sequence: int) -> None:
        """Returns when the partition is folded up to `sequence`. Raises RedisError."""
        reached = asyncio.get_running_loop().create_future()
        waiters = self._partitions.setdefault(partition, {})
        waiters[reached] = sequence
        self._somebody_new.set()
        if self._task is None or self._task.done():
            with telemetry.detached():
                self._task = asyncio.create_task(self._run())
        try:
            await reached
        finally:
            del waiters[reached]
            if not waiters and self._partitions.get(partition) is waiters:
                del self._partitions[partition]

    async def _run(self) -> None:
        pause_s = FIRST_WAIT_S
        while self._partitions:
            self._somebody_new.clear()
            await self._look(list(self._partitions))
            await asyncio.sleep(FIRST_WAIT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s - FIRST_WAIT_S):
                    await self._somebody_new.wait()
                    pause_s = FIRST_WAIT_S
            pause_s = min(pause_s * 1.5, WAIT_MAX_S)

    async def _look(self, partitions: list[int]) -> None:
        try:
            values = await self._database.strings([layout.applied_key(each) for each in partitions])
        except RedisError as error:
            if len(partitions) > 1:  # perhaps of one alone, whose node is away
                await asyncio.gather(*(self._look([each]) for each in partitions))
            else:
                self._fail(partitions, error)
            return
        for partition, value in zip(partitions, values, strict=True):
            self._tell(partition, int(value or 0))

    def _tell(self, partition: int, applied: int) -> None:
        for reached, sequence in self._partitions.get(partition, {}).items():
            if sequence <= applied and not reached.done():
                reached.set_result(None)

    def _fail(self, partitions: Iterable[int], error: RedisError) -> None:
        for partition in partitions:
            for reached in self._partitions.get(partition, {}):
                if not reached.done():
                    reached.set_exception(error)
