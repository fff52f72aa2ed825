"""The firings of rules in the stream NOTICES: stored if nobody was faster, and the last of each subject.

All calls may be repeated, and are, for as long as the bounds below say: a publish expects the last sequence
of its subject, so one that was stored unheard is refused when it is sent again, and the last message tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

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

    async def last_of(self, game_ids: Sequence[str]) -> list[Last]:
        """The last message of each rule and topic of these games. Raises NatsError, TimeoutError."""
        async for attempt in _attempts():
            with attempt:
                async with asyncio.timeout(_ATTEMPT_S):
                    return await self._read(game_ids)
        raise AssertionError("it returns or raises")

    async def _read(self, game_ids: Sequence[str]) -> list[Last]:
        found: list[Delivered] = []
        expected: int | None = None
        is_over = asyncio.Event()
        broken = ""

        def take(message: Delivered) -> None:
            found.append(message)
            if len(found) == expected:
                is_over.set()

        def broke(why: str) -> None:
            nonlocal broken
            broken = why
            is_over.set()

        consumer = OrderedConsumer(self._bus, take, broke)
        try:
            expected = await consumer.open(
                subjects.NOTICES_STREAM, [subjects.notices_fired_in(game_id) for game_id in game_ids]
            )
            if len(found) < expected:
                await is_over.wait()
        finally:
            await consumer.close()
        if broken:
            raise NatsError(f"the firings were not read: {broken}")
        decoded = (_decoded(each.subject, each.sequence, each.data) for each in found)
        return [each for each in decoded if each is not None]


def _decoded(subject: str, sequence: int, data: bytes) -> Last | None:
    try:
        return sequence, StoredNotice.FromString(data)
    except DecodeError as error:
        log.error("%s: message %d does not decode: %s", subject, sequence, error)
        return None
