"""Reads the last firing of each rule and topic from the stream NOTICES (notify.stream_log writes them)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from grandstand.internal.v1.internal_pb2 import StoredNotice
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer

log = logging.getLogger(__name__)

_ATTEMPT_S = 2.0
_AGAIN_FOR_S = 3.0


async def last_firings(bus: Bus, game_ids: Sequence[str], take: Callable[[int, StoredNotice], None]) -> None:
    """Hands over the last message of each rule and topic of these games, with its sequence, perhaps more
    than once. Raises NatsError, TimeoutError."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((NatsError, TimeoutError)),
        stop=stop_after_delay(_AGAIN_FOR_S),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    ):
        with attempt:
            await _read(bus, game_ids, take)


async def _read(bus: Bus, game_ids: Sequence[str], take: Callable[[int, StoredNotice], None]) -> None:
    count, broken = 0, ""
    news = asyncio.Event()

    def hear(message: Delivered) -> None:
        nonlocal count
        count += 1
        news.set()
        found = decoded(message.subject, message.sequence, message.data)
        if found is not None:
            take(message.sequence, found)

    def broke(why: str) -> None:
        nonlocal broken
        broken = why
        news.set()

    consumer = OrderedConsumer(bus, hear, broke)
    try:
        async with asyncio.timeout(_ATTEMPT_S):
            filters = [subjects.notices_fired_in(game_id) for game_id in game_ids]
            expected = await consumer.open(subjects.NOTICES_STREAM, filters)
        while count < expected and not broken:
            news.clear()
            async with asyncio.timeout(_ATTEMPT_S):  # between two messages: there may be many
                await news.wait()
    finally:
        await consumer.close()
    if broken:
        raise NatsError(f"the firings were not read: {broken}")


def decoded(subject: str, sequence: int, data: bytes) -> StoredNotice | None:
    """None, and a line in the log, for what is no StoredNotice."""
    try:
        return StoredNotice.FromString(data)
    except DecodeError as error:
        log.error("%s: message %d does not decode: %s", subject, sequence, error)
        return None
