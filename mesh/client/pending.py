"""An event on its way: what its sender waits for, and how several travel as one batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import EventBatch
from mesh.client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event is stored. A read or subscription given `positions` includes it (I6)."""

    origin_id: str
    origin_seq: int
    positions: tuple[Position, ...]


@dataclass(slots=True)
class Pending:
    event: Event
    traceparent: str
    receipt: asyncio.Future[Receipt]


def to_batch(batch: list[tuple[int, Pending | None]]) -> EventBatch:
    """A number that was refused before goes without a body (see `outbox`)."""
    events: list[Event] = []
    traceparent = ""
    for origin_seq, pending in batch:
        if pending is None:
            events.append(Event(origin_seq=origin_seq))
        else:
            events.append(pending.event)
            traceparent = traceparent or pending.traceparent
    return EventBatch(events=events, traceparent=traceparent)


def set_error(receipt: asyncio.Future[Receipt], error: ClientError) -> None:
    if not receipt.done():
        receipt.set_exception(error)
        # A caller may drop a receipt it does not care for; that is no error to log.
        receipt.exception()
