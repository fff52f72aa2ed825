"""Walks the streams again and again: brings back what a part of Redis lost (I11), purges what is over, and
counts what games take.

A round takes SCRUB_ROUND_S, or less if there is little. What is applied again changes nothing where all is
well.

Bounds: PURGES_PER_S_MAX; two batches of mesh.jetstream.pull for each stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from nats.errors import Error as NatsError

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pulled
from mesh.jetstream.walk import walk
from mesh.redis.database import RedisError
from notify.applying import decoded
from notify.bounds import PURGES_PER_S_MAX, SCRUB_PAUSE_S, SCRUB_PER_S_MIN, SCRUB_ROUND_S
from notify.purging import Keeps, NoticePurging, Purge, member_purges
from notify.quotas import UsedBytes

log = logging.getLogger(__name__)


Repair = Callable[[Sequence[Pulled]], Awaitable[None]]


class Scrub:
    """`repairs`: what applies again what is in a stream, for each stream; `note_used`: takes how many bytes
    of NOTICES games have, of those that have many."""

    def __init__(
        self,
        bus: Bus,
        repairs: Mapping[str, Repair],
        keeps: Keeps,
        clock: Callable[[], float],
        note_used: Callable[[Mapping[str, int]], Awaitable[None]],
    ) -> None:
        self._note_used = note_used
        self._bus = bus
        self._repairs = repairs
        self._keeps = keeps
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*map(self._rounds, self._repairs))

    async def _rounds(self, stream: str) -> None:
        while True:
            await asyncio.sleep(SCRUB_PAUSE_S)
            try:
                await self._round(stream)
            except (NatsError, RedisError, TimeoutError) as error:
                log.info("the scrub of %s begins again: %s", stream, str(error) or type(error).__name__)

    async def _round(self, stream: str) -> None:
        purging, pace, used = NoticePurging(self._keeps), _Pace(), UsedBytes()
        async for pulled, left in walk(self._bus, stream, [f"{stream.lower()}.>"]):
            await self._repairs[stream](pulled)
            if stream == subjects.NOTICES_STREAM:
                messages = list(decoded(pulled))
                used.take(messages)
                await self._purge(stream, purging.purges(messages, self._clock()))
            elif stream == subjects.SEGMENTS_STREAM:
                await self._purge(stream, member_purges(map(_member, pulled), self._clock()))
            await pace.after(len(pulled), left)
        if stream == subjects.NOTICES_STREAM:
            await self._note_used(used.listed())

    async def _purge(self, stream: str, purges: Iterable[Purge]) -> None:
        for subject, below in purges:
            await self._bus.js.purge_stream(stream, seq=below, subject=subject)
            await asyncio.sleep(1 / PURGES_PER_S_MAX)


class _Pace:
    """So many a second that a round is over in time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._loop.time()
        self._done = 0

    async def after(self, count: int, left: int) -> None:
        self._done += count
        per_s = max((self._done + left) / SCRUB_ROUND_S, SCRUB_PER_S_MIN)
        await asyncio.sleep(self._begun_s + self._done / per_s - self._loop.time())


def _member(pulled: Pulled) -> tuple[int, str, bytes, float]:
    return pulled.sequence, pulled.subject, pulled.data, pulled.stored_at_s
