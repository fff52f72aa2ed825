"""How far partitions are folded. All that wait for one partition share its looks at Redis.

A look is made at once, FIRST_WAIT_S after it again, and then after growing pauses; somebody new shortens the
pause. So a partition costs one small read each FIRST_WAIT_S at most, however many wait for it.

Bounds: the callers' own; one task for each partition that is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib

from mesh import telemetry
from mesh.redis import layout
from mesh.redis.database import Database, RedisError

FIRST_WAIT_S = 0.008
WAIT_MAX_S = 0.05


class AppliedLooks:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions: dict[int, _Partition] = {}

    async def until(self, partition: int, sequence: int) -> None:
        """Returns when the partition is folded up to `sequence`. Raises RedisError."""
        waited_for = self._partitions.get(partition)
        if waited_for is None:
            waited_for = self._partitions[partition] = _Partition()
            with telemetry.detached():
                waited_for.task = asyncio.create_task(self._run(partition, waited_for))
        reached = asyncio.get_running_loop().create_future()
        waited_for.waiters[reached] = sequence
        waited_for.somebody_new.set()
        try:
            await reached
        finally:
            del waited_for.waiters[reached]

    async def _run(self, partition: int, waited_for: _Partition) -> None:
        pause_s = FIRST_WAIT_S
        try:
            while waited_for.waiters:
                waited_for.somebody_new.clear()
                try:
                    applied = int(await self._database.string(layout.applied_key(partition)) or 0)
                except RedisError as error:
                    waited_for.fail(error)
                    return
                waited_for.tell(applied)
                await asyncio.sleep(FIRST_WAIT_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s - FIRST_WAIT_S):
                        await waited_for.somebody_new.wait()
                        pause_s = FIRST_WAIT_S
                pause_s = min(pause_s * 1.5, WAIT_MAX_S)
        finally:
            del self._partitions[partition]


class _Partition:
    """Those who wait for one partition, each for a sequence."""

    def __init__(self) -> None:
        self.waiters: dict[asyncio.Future[None], int] = {}
        self.somebody_new = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def tell(self, applied: int) -> None:
        for reached, sequence in self.waiters.items():
            if sequence <= applied and not reached.done():
                reached.set_result(None)

    def fail(self, error: RedisError) -> None:
        for reached in self.waiters:
            if not reached.done():
                reached.set_exception(error)
