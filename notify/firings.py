"""The firings of rules in the stream NOTICES: stored if nobody was faster, and the last of each subject.

All calls may be repeated, and are, for as long as the bounds below say: a publish expects the last sequence
of its subject, so one that was stored unheard is refused when it is sent again, and the last message tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from grandstand.internal.v1.internal_pb2 import StoredNotice
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer
from notify.game_rules import Firing

log = logging.getLogger(__name__)

Last = tuple[int, StoredNotice]
"""Its sequence, and the message."""

_ATTEMPT_S = 2.0
_AGAIN_FOR_S = 3.0
_WRONG_LAST_SEQUENCE = (10071, 10164)


def _attempts() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type((NatsError, TimeoutError)),
        stop=stop_after_delay(_AGAIN_FOR_S),
        wait=wait_random_exponential(multiplier=0.02, max=0.5),
        reraise=True,
    )


class FiringStream:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(self, firing: Firing) -> int | None:
        """Its sequence; None: the last message of the subject is another. Raises NatsError, TimeoutError:
        it is not known whether it is stored."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(firing.sequence)}
        try:
            data = firing.stored.SerializeToString()
            ack = await self._bus.js.publish(firing.subject, data, timeout=_ATTEMPT_S, headers=headers)
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                return None
            raise
        return ack.seq

    async def last(self, subject: str) -> Last | None:
        """Raises NatsError, TimeoutError."""
        async for attempt in _attempts():
            with attempt:
                try:
                    async with asyncio.timeout(_ATTEMPT_S):
                        found = await self._bus.js.get_last_msg(subjects.NOTICES_STREAM, subject)
                except NotFoundError:
                    return None
                return _decoded(subject, found.seq or 0, found.data or b"")
        raise AssertionError("it returns or raises")

    async def last_of(self, game_ids: Sequence[str], take: Callable[[int, StoredNotice], None]) -> None:
        """Hands over the last message of each rule and topic of these games, perhaps more than once. Raises
        NatsError, TimeoutError."""
        async for attempt in _attempts():
            with attempt:
                await self._read(game_ids, take)

    async def _read(self, game_ids: Sequence[str], take: Callable[[int, StoredNotice], None]) -> None:
        count, broken = 0, ""
        news = asyncio.Event()

        def hear(message: Delivered) -> None:
            nonlocal count
            count += 1
            news.set()
            found = _decoded(message.subject, message.sequence, message.data)
            if found is not None:
                take(*found)

        def broke(why: str) -> None:
            nonlocal broken
            broken = why
            news.set()

        consumer = OrderedConsumer(self._bus, hear, broke)
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                expected = await consumer.open(
                    subjects.NOTICES_STREAM, [subjects.notices_fired_in(game_id) for game_id in game_ids]
                )
            while count < expected and not broken:
                news.clear()
                async with asyncio.timeout(_ATTEMPT_S):  # between two messages: there may be many
                    await news.wait()
        finally:
            await consumer.close()
        if broken:
            raise NatsError(f"the firings were not read: {broken}")


def _decoded(subject: str, sequence: int, data: bytes) -> Last | None:
    try:
        return sequence, StoredNotice.FromString(data)
    except DecodeError as error:
        log.error("%s: message %d does not decode: %s", subject, sequence, error)
        return None
