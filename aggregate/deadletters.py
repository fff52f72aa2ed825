"""Blocks and sections that could not be folded, set aside in a stream of their own for a person to look at.

A letter is stored before the flush that steps over its block, so nothing is left out
without a trace; its message id names its place, so a block that is folded again after a
crash is not set aside twice. What the log of the partition says meanwhile is the reason.

Bounds: DEAD_LETTERS_BYTES_MAX and DEAD_LETTERS_AGE_S, the oldest go first; a block too large for
a message is cut. A JetStream that refuses the letters (no room for their stream) must not
hold up the fold: the block is in the event stream still, and its place is in the log.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from nats.js import api as js_api
from nats.js.errors import (
    APIError,
    BadRequestError,
    NoStreamResponseError,
    NotFoundError,
    ServiceUnavailableError,
)

from aggregate import bounds
from grandstand.internal.v1.internal_pb2 import DeadLetter
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

_REASON = "Grandstand-Reason"
_REASON_CHARACTERS_MAX = 200
_ENVELOPE_BYTES = 4_096


class DeadLetters:
    """One for all partitions of a process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.published = 0
        """Those that were set aside since the start, also where no stream took them."""
        self._ready = False

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when all are stored. Raises NatsError, TimeoutError while JetStream is away."""
        for number, letter in enumerate(letters):
            self.published += 1
            log.error(
                "partition %d: of block %d is left out: %s",
                letter.partition,
                letter.sequence,
                printable(letter.reason),
            )
            try:
                if not await self._stored(letter, number):
                    # JetStream is away, or the stream is gone: asking for the stream tells which.
                    self._ready = False
                    if not await self._stored(letter, number):
                        log.error("its dead letter cannot be stored: no stream takes it")
            except ServiceUnavailableError:
                raise
            except APIError as error:
                log.error("its dead letter cannot be stored: %s", error)

    async def _stored(self, letter: DeadLetter, number: int) -> bool:
        """False if nobody took it. Raises APIError, NatsError, TimeoutError."""
        if not self._ready:
            await self._ensure_stream()
            self._ready = True
        try:
            await self._bus.js.publish(
                subjects.dead_letters(letter.partition),
                cut(letter, self._bus.client.max_payload).SerializeToString(),
                headers={
                    "Nats-Msg-Id": f"dead-{letter.partition}-{letter.sequence}-{number}",
                    _REASON: printable(letter.reason),
                },
            )
        except NoStreamResponseError:
            return False
        return True

    async def _ensure_stream(self) -> None:
        try:
            await self._bus.js.stream_info(subjects.DEAD_LETTERS_STREAM)
        except NotFoundError:
            with contextlib.suppress(BadRequestError):  # another worker was faster
                await self._bus.js.add_stream(
                    js_api.StreamConfig(
                        name=subjects.DEAD_LETTERS_STREAM,
                        subjects=[subjects.DEAD_LETTERS_ALL],
                        retention=js_api.RetentionPolicy.LIMITS,
                        storage=js_api.StorageType.FILE,
                        discard=js_api.DiscardPolicy.OLD,
                        max_bytes=bounds.DEAD_LETTERS_BYTES_MAX,
                        max_age=bounds.DEAD_LETTERS_AGE_S,
                        duplicate_window=limits.DEDUPE_WINDOW_S,
                        num_replicas=self._bus.replicas,
                    )
                )


def cut(letter: DeadLetter, message_bytes_max: int) -> DeadLetter:
    """The letter, its block cut to what one message takes, which its reason then says."""
    room = message_bytes_max - _ENVELOPE_BYTES
    if len(letter.block) <= room:
        return letter
    return DeadLetter(
        partition=letter.partition,
        sequence=letter.sequence,
        reason=f"{letter.reason[:_REASON_CHARACTERS_MAX]} (the first {room} of {len(letter.block)} bytes)",
        block=letter.block[:room],
    )


def printable(reason: str) -> str:
    """As one line of a header or a log: what a client sent may be in it."""
    short = reason if len(reason) <= _REASON_CHARACTERS_MAX else reason[: _REASON_CHARACTERS_MAX - 1] + "…"
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in short)
