"""Carries out gray strikes: what is struck lives on, and is put right again when its time is over.

Whatever ends a strike, its cause ends with it: nothing stays full, frozen, slow, held or shifted. A strike
that cannot be carried out says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from toolbox.chaos import tmpfs
from toolbox.chaos.forgetting import Forgetting
from toolbox.chaos.stage import Mesh
from toolbox.chaos.strike import Kind, Strike

PATIENCE_S = 15.0
"""How long what a strike needs may be away."""
_POLL_S = 0.05
_FILL_S = 0.1
_DRIFT_S = 0.25
_FOLLOW_S = 1.0
_ASK_S = 2.0


class NotCarriedOut(Exception):
    """The message says why."""


class GrayInjector:
    """Strikes one mesh. `forgetting` chooses the keys that are lost."""

    def __init__(self, mesh: Mesh, forgetting: Forgetting) -> None:
        self._mesh = mesh
        self._forgetting = forgetting

    async def carry_out(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        """Until its cause has ended. `on_fall` is called when it begins. Raises NotCarriedOut."""
        match strike.kind:
            case Kind.DISK:
                await self._fill(strike, on_fall)
            case Kind.HANG:
                await self._hang(strike, on_fall)
            case Kind.SLOW:
                await self._slow(strike, on_fall)
            case Kind.LOSE:
                await self._lose(on_fall)
            case Kind.FAILOVER:
                await self._fail_over(on_fall)
            case Kind.DROP:
                await self._drop(strike, on_fall)
            case Kind.CLOCK:
                await self._shift(strike, on_fall)
            case _:
                raise AssertionError(f"{strike.kind} is not gray")

    async def follow(self) -> None:
        """Until cancelled: the standby replicates, whatever was restarted.

        The mesh's own Valkey only when it is failed over to: as a replica, its supervisor starts it again.
        """
        while True:
            if not self._mesh.standby.second_leads:
                await self._mesh.standby.follow()
            await asyncio.sleep(_FOLLOW_S)

    async def _fill(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        if why := tmpfs.why_not():
            raise NotCarriedOut(f"the disk of {strike.target} is not its own: {why}")
        disk = self._mesh.disk(strike.target)
        if not disk.fill():
            raise NotCarriedOut(f"the disk of {strike.target} could not be reached")
        on_fall()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + strike.for_s
        try:
            while loop.time() < ends_at:
                disk.fill()
                await asyncio.sleep(_FILL_S)
        finally:
            disk.free()

    async def _hang(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        pid = await self._until(lambda: self._mesh.store_pid(strike.target), f"{strike.target} was not ready")
        try:
            handle = os.pidfd_open(pid)
        except OSError as error:
            raise NotCarriedOut(f"{strike.target} ended: {error}") from None
        try:
            on_fall()
            _signal(handle, signal.SIGSTOP)
            await asyncio.sleep(strike.for_s)
        finally:
            _signal(handle, signal.SIGCONT)
            os.close(handle)

    async def _slow(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        on_fall()
        self._mesh.ways.slow(strike.target, strike.amount)
        try:
            await asyncio.sleep(strike.for_s)
        finally:
            self._mesh.ways.slow(strike.target, 0.0)

    async def _drop(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        store, direction = strike.how.split()
        way = f"{strike.target} {store}"
        on_fall()
        self._mesh.ways.hold(way, up=direction != "down", down=direction != "up")
        try:
            await asyncio.sleep(strike.for_s)
        finally:
            self._mesh.ways.hold(way, up=False, down=False)

    async def _shift(self, strike: Strike, on_fall: Callable[[], None]) -> None:
        """A drift arrives at the whole amount in the middle of the strike."""

        def shift(off_s: float) -> None:
            if strike.target == "nats":
                self._mesh.ways.clock(off_s)
            else:
                self._mesh.shift_clock(strike.target, off_s)

        loop = asyncio.get_running_loop()
        began_at = loop.time()
        on_fall()
        try:
            while (gone_s := loop.time() - began_at) < strike.for_s:
                share = min(1.0, 2 * gone_s / strike.for_s) if strike.how == "drift" else 1.0
                shift(strike.amount * share)
                await asyncio.sleep(_DRIFT_S if share < 1 else strike.for_s - gone_s)
        finally:
            shift(0.0)

    async def _lose(self, on_fall: Callable[[], None]) -> None:
        async def lost() -> bool:
            with contextlib.suppress(RedisError, OSError):
                async with self._redis() as redis:
                    keys = [key.decode() async for key in redis.scan_iter("{p*", count=1000)]
                    chosen = self._forgetting.choose(keys, leases=True)
                    if chosen:
                        await self._forgetting.delete(redis, chosen)
                        return True
            return False

        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while not await lost():
            if loop.time() > give_up_at:
                raise NotCarriedOut(f"there were no keys, or Redis did not answer within {PATIENCE_S:g} s")
            await asyncio.sleep(_POLL_S)
        on_fall()

    async def _fail_over(self, on_fall: Callable[[], None]) -> None:
        if not await self._mesh.standby.fail_over(PATIENCE_S):
            raise NotCarriedOut(f"the replica of Redis did not have its data within {PATIENCE_S:g} s")
        on_fall()

    async def _until(self, ask: Callable[[], int | None], otherwise: str) -> int:
        """The first answer that is one. Raises NotCarriedOut."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + PATIENCE_S
        while (answer := ask()) is None:
            if loop.time() > give_up_at:
                raise NotCarriedOut(f"{otherwise} within {PATIENCE_S:g} s")
            await asyncio.sleep(_POLL_S)
        return answer

    @contextlib.asynccontextmanager
    async def _redis(self) -> AsyncIterator[Redis]:
        redis = Redis.from_url(self._mesh.stores.redis, socket_timeout=_ASK_S)
        try:
            yield redis
        finally:
            await redis.aclose()


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)
