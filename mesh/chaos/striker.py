"""Carries out a schedule on a mesh: signals to its processes, FLUSHALL to its Redis.

A signal goes to a process that is ready at that moment, through a handle of the process where there
are such (Linux), so that it never reaches a stranger that was given the number. A strike whose target
is not ready within `PATIENCE_S` is missed, and counted as that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mesh.chaos.schedule import Kind, Strike
from mesh.chaos.stage import Mesh

PATIENCE_S = 4.0
_POLL_S = 0.05
_SIGNALS = {Kind.KILL: signal.SIGKILL, Kind.PAUSE: signal.SIGSTOP, Kind.RESTART: signal.SIGTERM}


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


class Striker:
    """Strikes one mesh. `on_strike` is told of each that falls."""

    def __init__(self, mesh: Mesh, on_strike: Callable[[Strike], None]) -> None:
        self.strikes: Counter[Kind] = Counter()
        self.ended: Counter[str] = Counter()
        """How often each process was made to end."""
        self.missed = 0
        self._mesh = mesh
        self._on_strike = on_strike

    async def run(self, strikes: Sequence[Strike]) -> None:
        """All strikes at their moments, from now. Whatever ends this, no process stays stopped."""
        begun_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                group.create_task(self._carry_out(strike, begun_at + strike.at_s))

    async def _carry_out(self, strike: Strike, at: float) -> None:
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        process = await self._process(strike.target)
        if process is None:
            self.missed += 1
            return
        with contextlib.closing(process):
            if strike.kind is Kind.EMPTY and not await self._empty():
                self.missed += 1
                return
            self._on_strike(strike)
            self.strikes[strike.kind] += 1
            self.ended[strike.target] += strike.kind in (Kind.KILL, Kind.RESTART)
            if strike.kind is not Kind.EMPTY:
                process.signal(_SIGNALS[strike.kind])
            if strike.kind is Kind.PAUSE:
                try:
                    await asyncio.sleep(strike.for_s)
                finally:
                    process.signal(signal.SIGCONT)

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

    async def _empty(self) -> bool:
        """False when Redis could not be asked."""
        redis = Redis.from_url(self._mesh.addresses.redis, socket_timeout=2.0)
        try:
            await redis.flushall()
        except RedisError:
            return False
        finally:
            await redis.aclose()
        return True
