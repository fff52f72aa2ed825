"""Refuses new events while the event log is nearly full, so that control blocks still fit.

The log never drops a message to make room (`discard=new`), because no event may be lost before it is folded
(I4). At its bound it refuses every block, including the ones that close and seal polls. So ingest stops
admitting events earlier and keeps the last RESERVE of the log for control blocks.

Bound: what is admitted between two readings may use part of the reserve: at most WATCH_S of blocks for each
ingest. RESERVE of the standard log is more than 200 MB.

Rejected: fill the log and refuse what no longer fits. A poll would then stay open past its end, without a
visible reason.
"""

from __future__ import annotations

import asyncio
import logging

from nats.errors import Error as NatsError

from grandstand.wire.errors import Exhausted
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

RESERVE = 0.05
WATCH_S = 1.0


class LogCapacity:
    """Used and maximum bytes of the event log. Assumed not full until the first update."""

    def __init__(self) -> None:
        self.used_bytes = 0
        self.bytes_max = -1

    def update(self, used_bytes: int, bytes_max: int) -> None:
        """Takes the log's size in bytes. `bytes_max` of 0 or less means no bound."""
        was_full = self.refusal() is not None
        self.used_bytes, self.bytes_max = used_bytes, bytes_max
        refusal = self.refusal()
        if refusal is not None and not was_full:
            log.error("new events are refused: %s", refusal)
        elif refusal is None and was_full:
            log.warning("new events are taken again: the event log has room")

    def refusal(self) -> Exhausted | None:
        """The error for new events while the log is nearly full; else None."""
        if self.bytes_max <= 0 or self.bytes_max - self.used_bytes >= RESERVE * self.bytes_max:
            return None
        return Exhausted(
            f"the event log holds {self.used_bytes} of at most {self.bytes_max} bytes, and the last "
            f"{RESERVE:.0%} are kept for closing polls; send again once the operator has raised max_bytes of "
            f"stream {subjects.EVENTS_STREAM}"
        )


async def watch_capacity(capacity: LogCapacity, bus: Bus) -> None:
    """Updates `capacity` every WATCH_S, until cancelled. While JetStream does not answer the last value
    stands: nothing can be stored meanwhile anyway."""
    while True:
        try:
            info = await bus.js.stream_info(subjects.EVENTS_STREAM)
            capacity.update(info.state.bytes, info.config.max_bytes or -1)
        except (NatsError, TimeoutError) as error:
            log.info("the event log's size is not known now: %s", str(error) or type(error).__name__)
        await asyncio.sleep(WATCH_S)
