"""Carries blocks from the coalescer to JetStream and settles the events in them.

Second votes are looked up here, a block at a time, rather than as each message comes: one
question to the partition's owner for all streams together.

An event is told durable only after the PubAck of its block (I1). When the event log does
not answer within the publish deadline, its events are told so and none is acked; the
client sends them again under the same identity (I2), and a seal waits longer than this
deadline (I9).

Bound: UNSETTLED_EVENTS_MAX events over all streams; beyond it `room` makes the streams
wait before they read on, and HTTP/2 flow control holds their clients back (votes and
scores are pushed back, never shed, I7).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import Protocol

from opentelemetry.trace import SpanKind

from grandstand.event.v1.event_pb2 import Position
from ingest.check import Row
from ingest.coalesce import Batch, Coalescer, encode
from ingest.votes import CastVotes
from mesh import limits, subjects, telemetry
from mesh.errors import GrandstandError
from mesh.pipeline import PublishPipeline

log = logging.getLogger(__name__)


class Ticket(Protocol):
    """Who waits for an event to be stored; told exactly once."""

    @property
    def traceparent(self) -> str: ...
    def durable(self, row: Row, position: Position) -> None: ...
    def refused(self, row: Row, error: GrandstandError) -> None: ...
    def failed(self, row: Row, error: GrandstandError) -> None: ...


class Publisher:
    """`ingest_id` must be unique to this process life: it begins every message id."""

    def __init__(self, pipeline: PublishPipeline, cast_votes: CastVotes, ingest_id: str) -> None:
        self._pipeline = pipeline
        self._cast_votes = cast_votes
        self._ingest_id = ingest_id
        self._numbers = itertools.count(1)
        self._coalescer: Coalescer[Ticket] = Coalescer()
        self._unsettled = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def room(self) -> None:
        """Waits until events may be added."""
        await self._has_room.wait()

    def add(self, row: Row, ticket: Ticket) -> None:
        """Takes an event; call `pump` after the last one of a message."""
        self._coalescer.add(row, ticket, asyncio.get_running_loop().time())
        self._unsettled += 1
        if self._unsettled >= limits.UNSETTLED_EVENTS_MAX:
            self._has_room.clear()

    def pump(self) -> None:
        """Sends off the blocks that are due, and comes back for the next."""
        loop = asyncio.get_running_loop()
        for batch in self._coalescer.take_due(loop.time()):
            with telemetry.detached():
                task = loop.create_task(self._store(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_at = self._coalescer.next_due_at()
        if due_at is not None:
            self._timer = loop.call_at(due_at, self.pump)

    async def _store(self, batch: Batch[Ticket]) -> None:
        try:
            await self._refuse_second_votes(batch)
            if batch.rows:
                await self._publish(batch)
        finally:
            self._unsettled -= batch.taken
            if self._unsettled < limits.UNSETTLED_EVENTS_MAX:
                self._has_room.set()

    async def _refuse_second_votes(self, batch: Batch[Ticket]) -> None:
        """Takes them out of the batch and tells their tickets."""
        refusals = await self._cast_votes.refusals(batch.partition, batch.rows)
        for at in sorted(refusals, reverse=True):
            batch.tickets.pop(at).refused(batch.rows.pop(at), refusals[at])

    async def _publish(self, batch: Batch[Ticket]) -> None:
        subject = subjects.events(batch.partition)
        block = encode(batch.rows, time.time_ns())
        try:
            with telemetry.batch_span(
                f"send {subject}",
                SpanKind.PRODUCER,
                (ticket.traceparent for ticket in batch.tickets),
                {
                    "messaging.system": "nats",
                    "messaging.destination.name": subject,
                    "messaging.batch.message_count": len(batch.rows),
                },
            ):
                sequence = await self._pipeline.publish(
                    subject,
                    block.SerializeToString(),
                    f"{self._ingest_id}-{next(self._numbers)}",
                    telemetry.headers(),
                    batch.opened_at + limits.PUBLISH_DEADLINE_S,
                )
        except GrandstandError as error:
            log.warning("%d events of %s are not stored: %s", len(batch.rows), subject, error)
            for row, ticket in zip(batch.rows, batch.tickets, strict=True):
                self._cast_votes.forget(row)
                ticket.failed(row, error)
        else:
            position = Position(partition=batch.partition, sequence=sequence)
            for row, ticket in zip(batch.rows, batch.tickets, strict=True):
                ticket.durable(row, position)

    async def drain(self) -> None:
        """Waits for what is under way; at most the publish deadline."""
        while self._tasks:
            await asyncio.wait(self._tasks)
