"""Follows one stream: what is stored in it is applied, in its order, until somebody says stop.

What was applied is known by its sequence and the stream's identity. Another stream of the same name, and one
that ends before what was applied of it (it lost messages), are applied from the beginning, over what is
there. Until all that was stored is applied, gateways are told only of what was stored in the last PUSH_AGE_S:
they load inboxes in turn.

Messages of more than LARGE_BYTES wait while smaller ones that came after them are applied, so that nobody
waits for a long list; applied counts as what comes before the first that waits.

Bounds: two batches of mesh.jetstream.pull, and LARGE_WAITING_MAX messages that wait. What is applied at once
is tried again for RETRY_FOR_S, then `run` raises.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from mesh import wall_clock
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pull, PullBroken, Pulled
from mesh.notices.stored import StreamPosition
from mesh.notices.streams import ensure_stream
from mesh.redis.database import RedisError
from notify.bounds import LARGE_BYTES, LARGE_TOGETHER_MAX, LARGE_WAITING_MAX, PUSH_AGE_S, TURN_S

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
        applied: StreamPosition,
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
                    self.applied = StreamPosition(self.applied.stream, max(self.applied.sequence, end))
                await self._follow(pull, end)
            except PullBroken as broken:
                log.info("%s is followed again: %s", self.stream, broken)
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
                log.warning("%s %s: %d was applied; it is applied again", self.stream, what, known.sequence)
            self.applied, self._anew = StreamPosition(identity), True
        return end

    async def _follow(self, pull: Pull, end: int) -> None:
        """`end`: what was stored before it began."""
        total, done, empty, said_s = pull.pending, 0, 0, self._loop.time()
        last = self.applied.sequence
        is_live = not total
        self._anew = self._anew and not is_live
        large: deque[Pulled] = deque()
        while True:
            pulled: list[Pulled] = []
            if len(large) <= LARGE_WAITING_MAX:
                pulled = await pull.next(0.0 if large else _PATIENCE_S)
            await self._take([each for each in pulled if len(each.data) <= LARGE_BYTES], is_live)
            large += (each for each in pulled if len(each.data) > LARGE_BYTES)
            await self._take(list(islice(large, LARGE_TOGETHER_MAX)), is_live)
            for _ in range(min(LARGE_TOGETHER_MAX, len(large))):
                large.popleft()
            done += len(pulled)
            last = pulled[-1].sequence if pulled else last
            self.applied = StreamPosition(self.applied.stream, large[0].sequence - 1 if large else last)
            self.heard_s = self._loop.time()
            if is_live:
                if pulled and not large:
                    await asyncio.sleep(TURN_S)  # what comes meanwhile shares the next turn
                continue
            if self.heard_s > said_s + _SAID_EVERY_S:
                said_s = self.heard_s
                log.info("%s: %d of %d messages are applied", self.stream, done, total)
            empty = 0 if pulled or large else empty + 1
            if not large and (done >= total or empty > _EMPTY_MAX):
                log.info("%s: caught up with %d messages", self.stream, done)
                is_live, self._anew = True, False
                last = max(last, end)
                self.applied = StreamPosition(self.applied.stream, last)

    async def _take(self, pulled: Sequence[Pulled], is_live: bool) -> None:
        since_s = self._clock() - PUSH_AGE_S
        old = 0 if is_live else bisect_left(pulled, since_s, key=lambda each: each.stored_at_s)
        for some, pushes in ((pulled[:old], False), (pulled[old:], True)):
            if some:
                await self._apply(some, pushes=pushes)

    async def _apply(self, pulled: Sequence[Pulled], *, pushes: bool) -> None:
        try:
            return await self.apply(pulled, anew=self._anew, pushes=pushes)
        except _AWAY as error:
            log.info("%s: %s; it is tried again", self.stream, str(error) or type(error).__name__)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_AWAY),
            wait=wait_random_exponential(0.05, max=1.0),
            stop=stop_after_delay(RETRY_FOR_S),
            reraise=True,
        ):
            with attempt:
                await self.apply(pulled, anew=self._anew, pushes=pushes)
        return None
