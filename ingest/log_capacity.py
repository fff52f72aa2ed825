"""Refuses new events while the event log is nearly full, so that what changes their meaning still fits.

The log never drops a message to make room (`discard=new`): no event that is not yet folded is
ever lost to retention (I4). It would refuse blocks at its bound, and with them the closing and
the seal of every poll. So ingest stops earlier: the last RESERVE of the log is for controls.

Bound: what is admitted between two looks may eat into the reserve, at most WATCH_S of one
ingest's blocks for each ingest; RESERVE of the standard log is more than 200 MB.

Rejected: to let blocks run into the bound and refuse what does not fit. A poll would then stay
open although its time is over, and nobody could tell why.
"""

from __future__ import annotations

import asyncio
import logging

from nats.errors import Error as NatsError

from mesh.errors import Exhausted
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

RESERVE = 0.05
WATCH_S = 1.0


class Room:
    """What is left in the event log; it has room until it is heard of."""

    def __init__(self) -> None:
        self._used_bytes = 0
        self._bytes_max = -1

    def heard(self, used_bytes: int, bytes_max: int) -> None:
        """The log's size; a bound of 0 or less is none."""
        was_full = self.refusal() is not None
        self._used_bytes, self._bytes_max = used_bytes, bytes_max
        refusal = self.refusal()
        if refusal is not None and not was_full:
            log.error("new events are refused: %s", refusal)
        elif refusal is None and was_full:
            log.warning("new events are taken again: the event log has room")

    def refusal(self) -> Exhausted | None:
        """Why no new event is taken now; None while there is room."""
        if self._bytes_max <= 0 or self._bytes_max - self._used_bytes >= RESERVE * self._bytes_max:
            return None
        return Exhausted(
            f"the event log holds {self._used_bytes} of at most {self._bytes_max} bytes, and the last "
            f"{RESERVE:.0%} are kept for closing polls; send again once the operator has raised max_bytes of "
            f"stream {subjects.EVENTS_STREAM}"
        )


async def watch(room: Room, bus: Bus) -> None:
    """Tells `room` the log's size every WATCH_S, until cancelled. While JetStream does not answer,
    the last word stands: nothing can be stored meanwhile anyway."""
    while True:
        try:
            info = await bus.js.stream_info(subjects.EVENTS_STREAM)
            room.heard(info.state.bytes, info.config.max_bytes or -1)
        except (NatsError, TimeoutError) as error:
            log.info("the event log's size is not known now: %s", str(error) or type(error).__name__)
        await asyncio.sleep(WATCH_S)
