"""Follows one stream: what is stored in it is applied, in its order, until somebody says stop.

What was applied is known by its sequence and the stream's identity. Another stream of the same name, and one
that ends before what was applied of it (it lost messages), are applied from the beginning, over what is
there. Until all that was stored is applied, gateways are told only of what was stored in the last PUSH_AGE_S:
they load inboxes in turn.

Bound: two batches of mesh.jetstream.pull. Each batch is tried again for RETRY_FOR_S, then `run` raises.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from mesh import wall_clock
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pull, PullBroken, Pulled
from mesh.notices.stored import Applied
from mesh.notices.streams import ensure_stream
from mesh.redis.database import RedisError
from notify.bounds import PUSH_AGE_S

log = logging.getLogger(__name__)

RETRY_FOR_S = 10.0
_PATIENCE_S = 0.5
_REMOVED_S = 1.0
"""nats-server 2.10 and 2.15 go on removing the files of a stream that was deleted, and lose those of one that
is made meanwhile: it then takes no message, and says that it is well."""
_EMPTY_MAX = 6
"""Then what was counted and did not come was purged."""
_SAID_EVERY_S = 5.0
_AGAIN_S = 0.2
_AWAY = (NatsError, RedisError, TimeoutError)


class Apply(Protocol):
    def __call__(self, pulled: Sequence[Pulled], *, anew: bool, pushes: bool) -> Awaitable[None]:
        """Idempotent. `anew`: over what is there. `pushes`: gateways are told."""


class Follower:
    def __init__(
        self,
        bus: Bus,
        stream: str,
        subjects: str,
        apply: Apply,
        applied: Applied,
        clock: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`applied`: what is. `clock`: Unix seconds."""
        self.stream = stream
        self.applied = applied
        self.noted = applied
        """What others know of it."""
        self.heard_s = asyncio.get_running_loop().time()
        """When it last had an answer, and all that came was applied; of the loop's clock."""
        self._bus = bus
        self._subjects = subjects
        self.apply = apply
        self._clock = clock
        self._anew = not applied.stream
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Until cancelled. Raises RedisError when a batch cannot be applied."""
        while True:
            pull = Pull(self._bus, self.stream, [self._subjects])
            try:
                end = await self._begin()
                await pull.open(self.applied.sequence + 1)
                if not pull.pending:  # what is purged at its end is applied, too
                    self.applied = Applied(self.applied.stream, max(self.applied.sequence, end))
                await self._follow(pull)
            except PullBroken as broken:
                log.info("%s is followed anew: %s", self.stream, broken)
            except (NatsError, TimeoutError) as error:
                log.info("waiting for %s: %s", self.stream, str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
            finally:
                await pull.close()

    async def _begin(self) -> int:
        """Decides where to go on; the stream's last sequence. Makes the stream if it is gone."""
        try:
            identity, end = await self._bus.stream_end(self.stream)
        except NotFoundError:
            await asyncio.sleep(_REMOVED_S)
            await ensure_stream(self._bus, self.stream)
            identity, end = await self._bus.stream_end(self.stream)
        known = self.applied
        if known.stream != identity or known.sequence > end:
            if known.stream:
                what = "is another one" if known.stream != identity else f"ends at {end}"
                log.warning("%s %s: %d was applied; it is applied anew", self.stream, what, known.sequence)
            self.applied, self._anew = Applied(identity), True
        return end

    async def _follow(self, pull: Pull) -> None:
        total, done, empty, said_s = pull.pending, 0, 0, self._loop.time()
        is_live = not total
        self._anew = self._anew and not is_live
        while True:
            pulled = await pull.next(_PATIENCE_S)
            if pulled:
                old = 0 if is_live else self._count_old(pulled)
                await self._retried(pulled[:old], pushes=False)
                await self._retried(pulled[old:], pushes=True)
                self.applied = Applied(self.applied.stream, pulled[-1].sequence)
                done += len(pulled)
            self.heard_s = self._loop.time()
            if is_live:
                continue
            if self.heard_s > said_s + _SAID_EVERY_S:
                said_s = self.heard_s
                log.info("%s: %d of %d messages are applied", self.stream, done, total)
            empty = 0 if pulled else empty + 1
            if done >= total or empty > _EMPTY_MAX:
                log.info("%s: caught up with %d messages", self.stream, done)
                is_live, self._anew = True, False

    def _count_old(self, pulled: Sequence[Pulled]) -> int:
        """How many are too old for anybody to wait for."""
        since_s = self._clock() - PUSH_AGE_S
        return bisect_left(pulled, since_s, key=lambda each: each.stored_at_s)

    async def _retried(self, pulled: Sequence[Pulled], *, pushes: bool) -> None:
        if not pulled:
            return
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_AWAY),
            wait=wait_random_exponential(0.05, max=1.0),
            stop=stop_after_delay(RETRY_FOR_S),
            reraise=True,
        ):
            with attempt:
                await self.apply(pulled, anew=self._anew, pushes=pushes)
