"""Writes messages into streams under a condition, and reads the newest of a subject.

The condition is the last sequence of the message's subject, checked by JetStream in the same step that
stores it: 0 means that the subject has none. So whoever writes a subject first has decided, whatever crashes,
resends or second replicas there are, and a change of what is stored loses against a newer one.

A publish whose answer is lost is sent again, with the same condition. If it is refused then, and the subject
has these very bytes, the first attempt was stored and it counts as new.

Reads go to the stream's leader: a follower that lags would answer with what was.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final, NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from grandstand.wire.errors import Exhausted, GrandstandError, Unavailable
from mesh import limits
from mesh.jetstream import acks
from mesh.jetstream.bus import Bus

_WRONG_LAST_SEQUENCE: Final = (10071, 10164)
_NO_MESSAGE: Final = 10037
_AWAY = (NatsError, TimeoutError)


class Kept(NamedTuple):
    """The newest message of a subject."""

    sequence: int
    """0: there is none."""
    data: bytes
    is_new: bool = False
    """It is what this call wrote."""


class _Again(Exception):
    """Not answered, or by a server that has trouble of its own."""


class StreamLog:
    """`room`: what a full stream is told as, and the way out of it."""

    def __init__(self, bus: Bus, stream: str, room: str) -> None:
        self._bus = bus
        self._stream = stream
        self._room = room

    async def put(self, subject: str, data: bytes, last: int | None = 0) -> Kept:
        """What the subject's newest message is then: this one, if the one before it was of sequence `last`;
        None: whatever it was. Raises Exhausted, Unavailable (it may be stored or not).
        """
        is_unsure = False
        try:
            async for attempt in _attempts():
                with attempt:
                    try:
                        sequence = await self._publish(subject, data, last)
                    except _Again:
                        is_unsure = True
                        raise
        except RetryError as error:
            raise self._away(error) from None
        if sequence:
            return Kept(sequence, data, is_new=True)
        found = await self.newest(subject)
        if not found.sequence and not last:
            raise Unavailable(f"{subject}: was taken and is free again; try again")
        return found._replace(is_new=is_unsure and found.data == data)

    async def newest(self, subject: str) -> Kept:
        """`subject` may have wildcards. Raises Unavailable."""
        try:
            async for attempt in _attempts():
                with attempt:
                    return await self._get(subject)
        except RetryError as error:
            raise self._away(error) from None
        raise AssertionError("there is one attempt at least")

    async def _publish(self, subject: str, data: bytes, last: int | None) -> int:
        """Its sequence; 0: the condition does not hold. Raises _Again, Exhausted."""
        headers = {"Nats-Expected-Stream": self._stream}
        if last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last)
        try:
            reply = await self._bus.client.request(
                subject, data, timeout=limits.PUBLISH_ATTEMPT_S, headers=headers
            )
        except _AWAY as error:
            raise _Again(str(error) or type(error).__name__) from error
        answer = acks.read(reply.data)
        if answer is None:
            raise _Again("JetStream could not store it")
        if isinstance(answer, int):
            return answer
        if _err_code(reply.data) in _WRONG_LAST_SEQUENCE:
            return 0
        if isinstance(answer, Exhausted):
            raise Exhausted(self._room)
        raise GrandstandError(f"the stream {self._stream} refused a message: {answer.message}")

    async def _get(self, subject: str) -> Kept:
        try:
            async with asyncio.timeout(limits.PUBLISH_ATTEMPT_S):
                found = await self._bus.js.get_last_msg(self._stream, subject)
        except NotFoundError as error:
            if error.err_code == _NO_MESSAGE:
                return Kept(0, b"")
            raise _Again(f"the stream {self._stream} is not there") from error
        except _AWAY as error:
            raise _Again(str(error) or type(error).__name__) from error
        return Kept(found.seq or 0, found.data or b"")

    def _away(self, error: RetryError) -> Unavailable:
        why = error.last_attempt.exception()
        return Unavailable(f"the stream {self._stream} does not answer ({why}); try again")


def _attempts() -> AsyncRetrying:
    return AsyncRetrying(
        stop=stop_after_delay(limits.PUBLISH_DEADLINE_S - limits.PUBLISH_ATTEMPT_S),
        wait=wait_random_exponential(multiplier=limits.PUBLISH_AGAIN_S, max=0.5),
        retry=retry_if_exception_type(_Again),
    )


def _err_code(data: bytes) -> int:
    return int(json.loads(data)["error"].get("err_code", 0))
