"""An event on its way: who waits for what becomes of it, and how several travel as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from grandstand.client.buffer import Priority
from grandstand.client.errors import ClientError
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import EventBatch, PublishRequest

_RANKS = {"measure": Priority.MEASURE, "reaction": Priority.REACTION, "presence": Priority.REACTION}


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event is stored. A read or subscription given `positions` includes it (I6)."""

    origin_id: str
    origin_seq: int
    positions: tuple[Position, ...]


OnDone = Callable[[Receipt | ClientError], object]
"""Called once, on the event loop: it must not block. What it returns is not looked at."""


@dataclass(slots=True)
class Pending:
    """`done` is a future or a callback."""

    event: Event
    traceparent: str
    done: asyncio.Future[Receipt] | OnDone

    @property
    def rank(self) -> Priority:
        """How readily it gives way to a newer event."""
        return _RANKS.get(self.event.WhichOneof("body") or "", Priority.KEEPS)

    def settle(self, answer: Receipt | ClientError) -> None:
        """Tells who waits."""
        done = self.done
        if not isinstance(done, asyncio.Future):
            _call(done, answer)
        elif done.done():
            return
        elif isinstance(answer, Receipt):
            done.set_result(answer)
        else:
            done.set_exception(answer)
            # A caller may drop a receipt it does not care for; that is no error to log.
            done.exception()


def to_request(batch: list[tuple[int, Pending | None]]) -> PublishRequest:
    """A number that was refused before goes without a body (see `outbox`)."""
    events: list[Event] = []
    traceparent = ""
    for origin_seq, pending in batch:
        if pending is None:
            events.append(Event(origin_seq=origin_seq))
        else:
            pending.event.origin_seq = origin_seq
            events.append(pending.event)
            traceparent = traceparent or pending.traceparent
    return PublishRequest(events=EventBatch(events=events, traceparent=traceparent))


def _call(on_done: OnDone, answer: Receipt | ClientError) -> None:
    """A callback that fails is its owner's fault, and must not end the session."""
    try:
        on_done(answer)
    except Exception as error:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"on_done failed for {answer!r}", "exception": error}
        )
