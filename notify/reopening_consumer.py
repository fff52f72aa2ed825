"""Follows subjects of a stream for as long as it runs, whatever becomes of the consumer.

An ordered consumer is opened again when it breaks, after a reconnect, and when the server sends nothing, not
even a heartbeat, for SILENCE_S: one that lives on a server of a cluster which died is not missed otherwise.
Opened again it begins as the first one: with the last message of each subject, so that nothing is missed and
some comes again; or with what is stored from then on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from nats.errors import Error as NatsError

from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
SILENCE_S = 3.5 * HEARTBEAT_S
_LOOK_S = 0.5
_OPEN_S = 2.0
_AGAIN_S = 0.5


class ReopeningConsumer:
    """`on_message` is called on the event loop and must not raise."""

    def __init__(
        self,
        bus: Bus,
        stream: str,
        subjects: Sequence[str],
        on_message: Callable[[Delivered], None],
        *,
        new_only: bool = False,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subjects = subjects
        self._on_message = on_message
        self._new_only = new_only
        self._is_over = asyncio.Event()
        self.is_open = asyncio.Event()
        """Set from the first time on that it is open."""

    async def run(self) -> None:
        """Until cancelled."""
        self._bus.on_reconnect(self._is_over.set)
        try:
            while True:
                await self._follow()
                await asyncio.sleep(_AGAIN_S)
        finally:
            self._bus.off_reconnect(self._is_over.set)

    async def _follow(self) -> None:
        self._is_over.clear()
        consumer = OrderedConsumer(self._bus, self._on_message, self._broken)
        try:
            async with asyncio.timeout(_OPEN_S):
                await consumer.open(
                    self._stream, self._subjects, new_only=self._new_only, heartbeat_s=HEARTBEAT_S
                )
            self.is_open.set()
            while not self._is_over.is_set():
                if time.monotonic() - consumer.heard_s > SILENCE_S:
                    return self._broken("silent")
                try:
                    await asyncio.wait_for(self._is_over.wait(), _LOOK_S)
                except TimeoutError:
                    continue
        except (NatsError, TimeoutError) as error:
            self._broken(str(error) or type(error).__name__)
        finally:
            await consumer.close()

    def _broken(self, why: str) -> None:
        log.info("following %s of %s again: %s", ", ".join(self._subjects), self._stream, why)
        self._is_over.set()
