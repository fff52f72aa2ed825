"""Publishes blocks from the coalescer to JetStream and reports the result to the events' tickets.

Second votes are looked up here, one block at a time instead of one message at a time: one request to the
partition's owner covers all streams.

An event is reported as stored only after the PubAck of its block (I1). A block that the event log did not
take by its publish deadline is kept while a client waits for it: `split_for_republish` removes what must not
be published again, using a fresh view of the catalog, and the rest is published with a new deadline and a new
message id. It is counted once all the same, by the identity of its events (I2). So a stream stays open while
NATS is away: nothing is acked, and no client has to resend.

A stored block must also be stored before the seals of its topics (I9). The view that validated its events saw
them open at its anchor, so their seals are published later than SEAL_GRACE_S after that
(mesh.catalog.freshness). A PubAck received before that time, less VIEW_MARGIN_S for clock drift, settles the
block: one comparison. One received later, because the process was stopped or the machine slept, waits for a
view whose anchor is later than the PubAck: events of topics whose stage is still OPEN in that view were
stored in time, and the others are refused with maybe_stored.

Bound: UNSETTLED_EVENTS_MAX events and UNSETTLED_BYTES_MAX bytes over all streams. Beyond it `has_room` is
False, the streams stop reading, and HTTP/2 flow control slows their clients (votes and scores are pushed
back, never shed, I7).
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import math
from collections.abc import Callable

from opentelemetry.trace import SpanKind

from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError, Unavailable
from ingest import bounds
from ingest.check import Checker, Place
from ingest.coalesce import Batch, Coalescer, Entry
from ingest.intake import Ticket
from ingest.pressure import Pressure
from ingest.republish import split_for_republish
from ingest.votes import CastVotes
from mesh import limits, telemetry, wall_clock
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.explain.recent_refusals import RecentRefusals
from mesh.jetstream import subjects
from mesh.jetstream.pipeline import PublishPipeline
from mesh.metrics.histogram import SIZES, Histogram
from mesh.metrics.hottest import GameRates

log = logging.getLogger(__name__)

# A block that was refused at once (the event log is full) is not sent again at once.
AGAIN_S = 0.25
# What the event log does not take is told in a line each so long, not in one for each block.
COMPLAIN_EVERY_S = 1.0
# From the anchor of the view that judged a block until its PubAck must be heard.
SETTLED_S = limits.SEAL_GRACE_S - bounds.VIEW_MARGIN_S


class BlockPublisher:
    """`ingest_id` must be unique to this run of the process: it is the prefix of every message id."""

    def __init__(
        self,
        pipeline: PublishPipeline,
        cast_votes: CastVotes,
        checker: Checker,
        coalescer: Coalescer[Ticket],
        pressure: Pressure,
        ingest_id: str,
        catalog: CatalogWatch,
        refusals: RecentRefusals | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._cast_votes = cast_votes
        self._checker = checker
        self._catalog = catalog
        self._pressure = pressure
        self._refusals = RecentRefusals() if refusals is None else refusals
        self._ingest_id = ingest_id
        self._numbers = itertools.count(1)
        self._coalescer = coalescer
        self._on_room: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._tasks: set[asyncio.Task[None]] = set()
        # Blocks belong to no trace span: their tasks outlive the message that started them.
        self._context = contextvars.copy_context()
        self.unsettled_events = 0
        self.unsettled_bytes = 0
        """Of blocks that are being published."""
        self.has_room = True
        self.refused_blocks = 0
        """Counts each attempt at which the log did not take a block, or not in time."""
        self.stored_blocks = 0
        self.stored_events = self.stored_bytes = 0
        self.publish_s = Histogram()
        """From a block's publish to its PubAck."""
        self.block_events = Histogram(SIZES)
        self.games = GameRates()
        self._unstored_events = 0
        self._complain_at_s = 0.0
        self.refusal = ""
        """Why the log took none since the last it took; "" if it only did not answer."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """Sets the callback for `has_room` becoming True again."""
        self._on_room = callback

    def pump_if_due(self, now: float) -> None:
        """Publishes the blocks that are due and sets the timer for the next. Called after each message."""
        if self._coalescer.due_at <= now:
            self._pump()
        elif self._timer_at > self._coalescer.due_at:
            self._come_back()

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        for batch in self._coalescer.take_due(loop.time()):
            self.unsettled_events += batch.count
            self.unsettled_bytes += batch.bytes
            task = loop.create_task(self._store(batch), context=self._context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._look_for_room()
        if self._timer_at > self._coalescer.due_at:
            self._come_back()

    def _come_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._coalescer.due_at
        self._timer = asyncio.get_running_loop().call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._pump()

    def _look_for_room(self) -> None:
        had_room = self.has_room
        self.has_room = (
            self.unsettled_events < bounds.UNSETTLED_EVENTS_MAX
            and self.unsettled_bytes < limits.UNSETTLED_BYTES_MAX
        )
        if self.has_room and not had_room and self._on_room is not None:
            self._on_room()

    async def _store(self, batch: Batch[Ticket]) -> None:
        count, size = batch.count, batch.bytes
        try:
            await self._refuse_second_votes(batch)
            loop = asyncio.get_running_loop()
            while batch.count:
                began_at = loop.time()
                try:
                    position = Position(partition=batch.partition, sequence=await self._publish(batch))
                except GrandstandError as error:
                    self._tell_late(batch, loop.time() - began_at, error.message)
                    await self._go_on_after(error, batch)
                else:
                    heard_s, now = boot_s(), loop.time()
                    self._count_stored(batch, now - began_at, now)
                    if now - began_at > telemetry.SLOW_S:
                        self._tell_late(batch, now - began_at)
                    self.refusal = ""
                    self._pressure.acked(now - began_at, now)
                    if heard_s > batch.anchor_s + SETTLED_S:
                        await self._look_again(batch, heard_s)
                    self._cast_votes.stored(batch)
                    for run in batch.runs:
                        run.ticket.stored(run.first, run.last, position)
                    return
        except Exception:
            log.exception("%d events of partition %d are lost to a fault", batch.count, batch.partition)
            self._tell(batch, list(batch.entries()), GrandstandError("internal error: see ingest's log"))
        finally:
            self.unsettled_events -= count
            self.unsettled_bytes -= size
            if not self.has_room:
                self._look_for_room()

    def _tell_late(self, batch: Batch[Ticket], seconds: float, error: str = "") -> None:
        """Of a block that is not traced, and took long to store or was not."""
        if not batch.causes:
            subject = subjects.events(batch.partition)
            described = _described(batch, subject)
            telemetry.late_span(f"send {subject}", SpanKind.PRODUCER, seconds, described, error)

    def _count_stored(self, batch: Batch[Ticket], seconds: float, now: float) -> None:
        events, causes = batch.count, batch.causes
        self.stored_blocks += 1
        self.stored_events += events
        self.stored_bytes += batch.bytes
        self.publish_s.observe(seconds, causes[0] if causes else "")
        self.block_events.observe(events)
        for place, rows in batch.sections.items():
            self.games.add(place[0], len(rows), now)

    async def _look_again(self, batch: Batch[Ticket], heard_s: float) -> None:
        """Refuses events that may have been stored after their seal. `heard_s`: when the PubAck came
        (boot_s)."""
        await self._catalog.anchored_after(heard_s)
        kept: dict[Place, list[Entry[Ticket]]] = {}
        for place, entries in batch.sections.items():
            try:
                self._checker.check_stage(place, self._catalog.clock.at_s(heard_s))
            except GrandstandError as closed:
                log.warning(
                    "%d events for %s were stored too late to be acked: %s",
                    *(len(entries), place, closed),
                    extra={"game": place[0]},
                )
                self._tell(batch, entries, closed, maybe_stored=True)
            else:
                kept[place] = entries
        batch.keep(kept)

    async def _refuse_second_votes(self, batch: Batch[Ticket]) -> None:
        """Removes second votes from the batch and refuses those whose first vote is already stored."""
        refusals = await self._cast_votes.refusals(batch)
        if not refusals:
            return
        sections: dict[Place, list[Entry[Ticket]]] = {}
        for place, entries in batch.sections.items():
            refused = refusals.get(place, {})
            sections[place] = [entry for at, entry in enumerate(entries) if at not in refused]
            for at, error in refused.items():
                if error is not None:
                    self._refuse(batch, [entries[at]], error)
        batch.keep(sections)

    async def _publish(self, batch: Batch[Ticket]) -> int:
        """Returns the block's sequence. Raises GrandstandError when it was not taken in time."""
        subject = subjects.events(batch.partition)
        payload = batch.encode(int(batch.stamped_at_s * 1e9)).SerializeToString()
        message_id = f"{self._ingest_id}-{next(self._numbers)}"
        deadline_at = batch.opened_at + limits.PUBLISH_DEADLINE_S
        if not batch.causes:
            return await self._pipeline.publish(subject, payload, message_id, None, deadline_at)
        now_ns, waited_s = wall_clock.now_ns(), asyncio.get_running_loop().time() - batch.opened_at
        with telemetry.batch_span(
            *(f"send {subject}", SpanKind.PRODUCER, batch.causes, _described(batch, subject)),
            started_ns=now_ns - int(waited_s * 1e9),
        ) as span:
            if span is not None:
                span.event("published", now_ns)
            return await self._pipeline.publish(
                subject, payload, message_id, telemetry.headers(), deadline_at
            )

    async def _go_on_after(self, error: GrandstandError, batch: Batch[Ticket]) -> None:
        """Keeps in the batch what is published again, with a new deadline; refuses the rest."""
        self._complain(error, batch)
        self.refused_blocks += 1
        self.refusal = self._pipeline.trouble if isinstance(error, Unavailable) else error.message
        if not error.retryable:
            self._tell(batch, list(batch.entries()), error)
            batch.keep({})
            return
        if not isinstance(error, Unavailable):
            await asyncio.sleep(AGAIN_S)
        if not self._catalog.is_fresh:
            # Relayed events and those of closed streams are not validated again: they need not wait for a
            # view.
            told = [entry for entry in batch.entries() if entry[0].is_relayed or entry[0].is_gone]
            self._tell(batch, told, error, maybe_stored=True)
            batch.keep(
                {
                    place: [entry for entry in entries if not (entry[0].is_relayed or entry[0].is_gone)]
                    for place, entries in batch.sections.items()
                }
            )
            if not batch.count:
                return
            await self._catalog.until_fresh()
        now_s = boot_s()
        split = split_for_republish(batch, error, self._checker, self._catalog.clock.at_s(now_s))
        for entries, why in split.refused:
            self._tell(batch, entries, why, maybe_stored=True)
        batch.keep(split.kept)
        batch.anchor_s = self._catalog.freshness.anchor_s
        batch.opened_at = asyncio.get_running_loop().time()

    def _complain(self, error: GrandstandError, batch: Batch[Ticket]) -> None:
        self._unstored_events += batch.count
        now_s = boot_s()
        if now_s >= self._complain_at_s:
            log.warning(
                "%d events were not stored at once; the last, of partition %d: %s",
                *(self._unstored_events, batch.partition, error),
            )
            self._unstored_events, self._complain_at_s = 0, now_s + COMPLAIN_EVERY_S

    def _tell(
        self,
        batch: Batch[Ticket],
        entries: list[Entry[Ticket]],
        error: GrandstandError,
        *,
        maybe_stored: bool = False,
    ) -> None:
        """Refuses these events."""
        self._cast_votes.refused(batch, entries, error, maybe_stored=maybe_stored)
        self._refuse(batch, entries, error, maybe_stored=maybe_stored)

    def _refuse(
        self,
        batch: Batch[Ticket],
        entries: list[Entry[Ticket]],
        error: GrandstandError,
        *,
        maybe_stored: bool = False,
    ) -> None:
        names, origins = batch.actor_ids(), batch.origins()
        for ticket, seq, origin_at, actor_at, said in entries:
            ticket.refused(seq, error, maybe_stored=maybe_stored)
            origin = ids.origin_of(origins.key(origin_at), producer=origin_at < 0)
            game_id, topic, *_ = said.place
            self._refusals.refused(
                *(names[actor_at], game_id, topic, origin, seq, error), maybe_stored=maybe_stored
            )

    async def drain(self) -> None:
        """Waits for blocks that are being published, at most for the publish deadline."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limits.PUBLISH_DEADLINE_S)


def _described(batch: Batch[Ticket], subject: str) -> dict[str, str | int]:
    """A span's attributes, by the semantic conventions for messaging."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": subject,
        "messaging.batch.message_count": batch.count,
        "messaging.message.body.size": batch.bytes,
    }
