"""Carries out a schedule on a mesh: signals to its processes, silence on its ways, FLUSHALL and DEL to its
Redis; what is gray is carried out by a `GrayInjector`, and a rebuild by whoever made this.

A signal goes to a process that is ready at that moment, through a handle of the process where there
are such (Linux), so that it never reaches a stranger that was given the number. A strike whose target
is not ready within `PATIENCE_S` is missed, and counted as that. While a rebuild takes longer than the
schedule keeps quiet for, the schedule's time stands still.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc.aio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from toolbox.chaos.forgetting import Forgetting
from toolbox.chaos.gray_injector import GrayInjector, NotCarriedOut
from toolbox.chaos.schedule import QUIET_AFTER_S
from toolbox.chaos.stage import Mesh
from toolbox.chaos.strike import GRAY, Kind, Strike
from toolbox.local import partitions

PATIENCE_S = 4.0
_POLL_S = 0.05
_SIGNALS = {
    Kind.KILL: signal.SIGKILL,
    Kind.RESTART: signal.SIGTERM,
    Kind.PAUSE: signal.SIGSTOP,
    Kind.FREEZE: signal.SIGSTOP,
}
_STOPS = (Kind.PAUSE, Kind.FREEZE)
_ASK_S = 2.0
_FORGET_WITHIN_S = 12.0


class _Process:
    """A process that was running when this was made."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError."""
        self._pid = pid
        self._handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._handle is None:
                os.kill(self._pid, number)
            else:
                signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


class FaultInjector:
    """Strikes one mesh. `on_strike` is told of each that falls, `on_end` when its cause has ended;
    `rebuild` is given the target of a REBUILD, and answers whether it was carried out."""

    def __init__(
        self,
        mesh: Mesh,
        on_strike: Callable[[Strike], None],
        on_end: Callable[[Strike], None],
        rebuild: Callable[[str], Awaitable[bool]],
        forgetting: Forgetting,
    ) -> None:
        self.strikes: Counter[Kind] = Counter()
        self.ended: Counter[str] = Counter()
        """How often each process was made to end."""
        self.missed = 0
        self.skipped: list[str] = []
        """Of the gray strikes that were not carried out, why."""
        self._mesh = mesh
        self._gray = GrayInjector(mesh, forgetting)
        self._on_strike = on_strike
        self._on_end = on_end
        self._fallen: set[Strike] = set()
        self._begun_at = 0.0
        self._still_at: float | None = None
        """Where the schedule's time stands still, if a rebuild that is under way takes that long."""
        self._rebuild = rebuild
        self._forgetting = forgetting

    async def run(self, strikes: Sequence[Strike]) -> None:
        """All strikes at their moments, from now. Whatever ends this, no process stays stopped."""
        self._begun_at = asyncio.get_running_loop().time()
        following = asyncio.create_task(self._gray.follow())
        try:
            async with asyncio.TaskGroup() as group:
                for strike in strikes:
                    group.create_task(self._carry_out(strike))
        finally:
            following.cancel()

    def _now(self) -> float:
        """The schedule's time, in seconds."""
        passed = asyncio.get_running_loop().time() - self._begun_at
        return passed if self._still_at is None else min(passed, self._still_at)

    async def _carry_out(self, strike: Strike) -> None:
        while True:
            left_s = strike.at_s - self._now()
            if left_s <= 0:
                break
            await asyncio.sleep(max(left_s, _POLL_S))
        try:
            struck = await self._struck(strike)
        finally:
            if strike in self._fallen:
                self._on_end(strike)
        if struck:
            self.strikes[strike.kind] += 1
        elif strike.kind not in GRAY:
            self.missed += 1

    async def _struck(self, strike: Strike) -> bool:
        """Until its cause has ended; whether it was carried out."""
        match strike.kind:
            case Kind.REBUILD:
                self._fall(strike)
                self._still_at = strike.at_s + QUIET_AFTER_S
                try:
                    return await self._rebuild(strike.target)
                finally:
                    self._begun_at = asyncio.get_running_loop().time() - self._now()
                    self._still_at = None
            case Kind.FORGET:
                return await self._forget(strike)
            case Kind.EMPTY:
                return await self._empty(strike)
            case Kind.CUT:
                return await self._cut(strike)
            case kind if kind in GRAY:
                try:
                    await self._gray.carry_out(strike, lambda: self._fall(strike))
                except NotCarriedOut as error:
                    self.skipped.append(f"{strike.kind} of {strike.target} was skipped: {error}")
                    return False
                return True
            case _:
                return await self._signal(strike)

    def _fall(self, strike: Strike) -> None:
        self._fallen.add(strike)
        self._on_strike(strike)

    async def _cut(self, strike: Strike) -> bool:
        process = await self._process(strike.target)
        if process is None:
            return False
        process.close()
        self._fall(strike)
        way = f"{strike.target} nats"
        self._mesh.ways.hold(way, up=True, down=True)
        try:
            await asyncio.sleep(strike.for_s)
        finally:
            self._mesh.ways.hold(way, up=False, down=False)
        return True

    async def _signal(self, strike: Strike) -> bool:
        process = await self._process(strike.target)
        if process is None:
            return False
        with contextlib.closing(process):
            self._fall(strike)
            self.ended[strike.target] += strike.kind in (Kind.KILL, Kind.RESTART)
            process.signal(_SIGNALS[strike.kind])
            if strike.kind in _STOPS:
                try:
                    await asyncio.sleep(strike.for_s)
                finally:
                    process.signal(signal.SIGCONT)
        return True

    async def _process(self, name: str) -> _Process | None:
        """The process once it is ready; None if that takes too long."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while loop.time() < give_up_at:
            pid = self._mesh.pid(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    process = _Process(pid)
                    # Asked again: it was this process when the handle was made.
                    if self._mesh.pid(name) == pid:
                        return process
                    process.close()
            await asyncio.sleep(_POLL_S)
        return None

    async def _empty(self, strike: Strike) -> bool:
        """False when Redis could not be asked."""
        process = await self._process(strike.target)
        if process is None:
            return False
        process.close()
        async with self._redis() as redis:
            try:
                await redis.flushall()
            except RedisError:
                return False
        self._fall(strike)
        return True

    async def _forget(self, strike: Strike) -> bool:
        """Deletes keys, and kills the workers that own their partitions before they write much more there.

        Not before every owner can be killed: what an owner that goes on notices, is not asked here.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _FORGET_WITHIN_S
        while loop.time() < give_up_at:
            with contextlib.suppress(RedisError, grpc.aio.AioRpcError, ProcessLookupError):
                if await self._forget_now():
                    self._fall(strike)
                    return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _forget_now(self) -> bool:
        """False when there is nothing to delete, or an owner is away. Raises RedisError, AioRpcError,
        ProcessLookupError."""
        async with self._redis() as redis:
            keys = [key.decode() async for key in redis.scan_iter("{p*", count=1000)]
            chosen = self._forgetting.choose(keys)
            found = await partitions.read(self._mesh.addresses.mesh, self._mesh.operator, _ASK_S)
            owners = {status.owner for status in found if status.partition in chosen}
            pids = {name: self._mesh.pid(name) for name in owners if name}
            if not chosen or "" in owners or None in pids.values():
                return False
            with contextlib.ExitStack() as held:
                workers = {
                    name: held.enter_context(contextlib.closing(_Process(pid)))
                    for name, pid in pids.items()
                    if pid is not None
                }
                await self._forgetting.delete(redis, chosen)
                for name, worker in workers.items():
                    worker.signal(signal.SIGKILL)
                    self.ended[name] += 1
        return True

    @contextlib.asynccontextmanager
    async def _redis(self) -> AsyncIterator[Redis]:
        redis = Redis.from_url(self._mesh.stores.redis, socket_timeout=_ASK_S)
        try:
            yield redis
        finally:
            await redis.aclose()
