"""One Publish stream: the thin shell around its Session.

Everything here happens on the event loop, called by the engine that owns the connection
(mesh.http2): a message was received, the client has half-closed, has gone, takes answers again. So
an idle stream is a few objects and no task. A stream that ends, for whatever reason, first settles
what it has taken and acks it, so nothing durable goes unsaid while anyone listens.

Reading goes on only while there is room: for events in this ingest, for this client's answers,
within its credit, and once its debt to the rates is paid. Until then HTTP/2 flow control holds the
client back; nobody else notices.

Bounds: (VIEWER_)ANSWERS_QUEUED_MAX refusals and receipts that the client has not taken (acks are
conflated into one), and one message of at most INGEST_MESSAGE_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.trace import SpanKind

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import (
    Credit,
    Drain,
    Heartbeat,
    Hello,
    PublishResponse,
    Reject,
    TokenExpiring,
)
from grandstand.internal.v1.internal_pb2 import Incoming, IncomingBatch
from ingest.check import keys_of
from ingest.intake import Held, Intake, Relayed, Unheard
from ingest.pressure import Pressure
from ingest.publisher import Publisher
from ingest.response_scheduler import Answers
from ingest.session import Input, Session, State
from mesh import limits, telemetry
from mesh.auth.identity import Identity
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.errors import GrandstandError, Invalid, Unavailable
from mesh.http2.call import Call

log = logging.getLogger(__name__)

# How many things that it has not heard of a message may make this ingest ask for.
KEYS_ASKED_MAX = 64

# Nothing is read for so long after a heartbeat: a flood of them is no more than so many.
HEARTBEAT_PAUSE_S = 0.001

_HEARTBEAT = PublishResponse(heartbeat=Heartbeat()).SerializeToString()


@dataclass(frozen=True, slots=True)
class Desk:
    """What all streams share."""

    intake: Intake
    publisher: Publisher
    answers: Answers
    catalog: CatalogWatch
    pressure: Pressure
    loop: asyncio.AbstractEventLoop


class Stream:
    """Where the connection, the publisher and the answers of one stream meet; mesh.http2.Handler.

    `on_end` is called once, when the stream is over.
    """

    __slots__ = (
        "_asking",
        "_call",
        "_desk",
        "_error",
        "_identity",
        "_is_held",
        "_on_end",
        "_outbox",
        "_paced_until",
        "_timer",
        "credit",
        "heard_at",
        "is_gone",
        "is_queued",
        "is_warned",
        "session",
        "spoke_at",
    )

    is_relayed = False

    def __init__(self, desk: Desk, call: Call, identity: Identity, on_end: Callable[[Stream], None]) -> None:
        self.session = Session()
        self.credit = 0
        """As announced last."""
        self.heard_at = self.spoke_at = desk.loop.time()
        self.is_gone = False
        self.is_queued = False
        self.is_warned = False
        self._desk = desk
        self._call = call
        self._identity = identity
        self._on_end = on_end
        self._error: GrandstandError | None = None
        self._outbox: deque[bytes] = deque()
        self._paced_until = 0.0
        self._is_held = False
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def expires_at_s(self) -> float:
        return self._identity.expires_at_s

    @property
    def is_held(self) -> bool:
        """Its client waits for us: nothing is read, so nothing can be heard."""
        return self._is_held

    @property
    def asks(self) -> bool:
        """It waits for the catalog."""
        return self._asking is not None

    # What the engine tells (mesh.http2.call.Handler).

    def received(self, message: bytes) -> None:
        if self.session.state is State.CLOSING:
            return
        self.heard_at = self._desk.loop.time()
        unheard: Unheard = []
        error = None
        try:
            self._receive(message, unheard)
        except GrandstandError as found:
            error = found
        except Exception as fault:
            log.exception("a stream failed")
            error = GrandstandError(f"internal error: {type(fault).__name__}; see ingest's log")
        if unheard:
            self._ask_catalog(unheard)
        if error is not None:
            self.end(error)
        elif self._must_wait():
            self._hold()

    def half_closed(self) -> None:
        if self.session.state is not State.CLOSING:
            self.session.step(Input.HALF_CLOSE)
            self.say()

    def writable(self) -> None:
        self.say()

    def gone(self) -> None:
        self._over()

    # Ending.

    def end(self, error: GrandstandError) -> None:
        """Ends the stream for a reason, once what it took is settled and said; the first reason stands.
        A client that has broken the rules is not waited for longer than a block has time."""
        if self.is_gone or self.session.state is State.CLOSING:
            return
        self._error = error
        self.session.state = State.CLOSING
        self._call.pause()
        self._set_timer(self._desk.loop.time() + limits.PUBLISH_DEADLINE_S + 1, self._finish)
        self.say()

    def _finish(self) -> None:
        if not self.is_gone:
            error = self._error
            self._call.end(*((error.code, error.message) if error is not None else (0, "")))
            self._over()

    def _over(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self.session.state = State.CLOSING
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:  # nobody listens; the client sends it again on another stream
            self._asking.cancel()
        self._on_end(self)

    # Reading.

    def _receive(self, data: bytes, unheard: Unheard) -> None:
        """Takes one message. Raises GrandstandError where the stream must end."""
        try:
            message = Incoming.FromString(data)
        except DecodeError:
            raise Invalid(f"message: {len(data)} bytes that are no PublishRequest") from None
        match message.WhichOneof("message"):
            case "events":
                batch = message.events
                if batch.traceparent and telemetry.is_on():
                    self._take_traced(batch, unheard)
                else:
                    self._take(batch, unheard, "")
            case "heartbeat":
                self.session.step(Input.HEARTBEAT)
                self._paced_until = max(self._paced_until, self.heard_at + HEARTBEAT_PAUSE_S)
            case "hello":
                self._open(message.hello)
            case _:
                raise Invalid(
                    f"message: hello, events or heartbeat expected, got none of them in {len(data)} bytes"
                )

    def _open(self, data: bytes) -> None:
        try:
            hello = Hello.FromString(data)
        except DecodeError:
            raise Invalid(f"hello: {len(data)} bytes that are no Hello") from None
        session = self.session
        welcome = session.hello(
            hello, self._identity, now_s=self._desk.catalog.clock.now_s(), entropy=os.urandom(12)
        )
        self.credit = welcome.credit = self._desk.pressure.credit(session.credit_max)
        self._put(PublishResponse(welcome=welcome))
        owes_s = self._desk.intake.owes_s(session.actor_id, self._desk.catalog.clock.now_s())
        if owes_s > 0.0 and not session.producer:
            self._paced_until = self.heard_at + owes_s

    def _take(self, batch: IncomingBatch, unheard: Unheard, cause: str) -> None:
        now = self.heard_at
        desk = self._desk
        catalog = desk.catalog
        freshness, received_s = catalog.freshness, boot_s()
        try:
            wait_s = desk.intake.take(
                self,
                batch.events,
                received_s + catalog.clock.offset_s,
                now,
                unheard,
                cause,
                anchor_s=freshness.anchor_s,
                is_fresh=received_s <= freshness.fresh_until_s,
            )
        finally:
            desk.publisher.pump_if_due(now)
        if wait_s > 0.0:
            self._paced_until = now + wait_s

    def _take_traced(self, batch: IncomingBatch, unheard: Unheard) -> None:
        attributes: dict[str, str | int] = {
            "rpc.service": "grandstand.ingest.v1.IngestService",
            "messaging.batch.message_count": len(batch.events),
        }
        with telemetry.batch_span("receive events", SpanKind.SERVER, [batch.traceparent], attributes):
            self._take(batch, unheard, telemetry.current_traceparent())

    def _ask_catalog(self, unheard: Unheard) -> None:
        """What the watch has not brought yet is asked of the catalog's bucket itself, once the view is fresh;
        nothing is read meanwhile, so that a stream's events keep their order."""
        self._asking = self._desk.loop.create_task(self._asked(unheard, boot_s()))
        self._hold()

    async def _asked(self, unheard: Unheard, received_s: float) -> None:
        desk = self._desk
        catalog = desk.catalog
        topics, games = keys_of(event for event, _ in unheard)
        while True:
            await catalog.until_fresh()
            await asyncio.gather(*map(catalog.refresh, topics[:KEYS_ASKED_MAX]))
            # After them: a game that is read once its topic is open has its final spread.
            await asyncio.gather(*map(catalog.refresh, games[:KEYS_ASKED_MAX]))
            now_s = boot_s()
            if catalog.freshness.is_fresh(now_s):
                break
        self._asking = None
        at = desk.loop.time()
        # What was held is judged by its receipt, unless that is too long ago.
        is_held = any(isinstance(error, Held) for _, error in unheard)
        judged_s = received_s if is_held and now_s - received_s <= limits.VIEW_FRESH_S else now_s
        anchor_s = catalog.freshness.anchor_s
        desk.intake.take_unheard(self, unheard, catalog.clock.at_s(judged_s), at, anchor_s=anchor_s)
        desk.publisher.pump_if_due(at)
        self.room_again()

    # Backpressure.

    def _must_wait(self) -> bool:
        """Whether there is no room to read on."""
        session = self.session
        return (
            session.unacked > self.credit
            or (self.credit == 0 and session.next_seq > 1)
            or not self._desk.publisher.has_room
            or self._paced_until > self.heard_at
            or len(self._outbox) + session.receipts_owed >= self._answers_max
            or self._asking is not None
        )

    @property
    def _answers_max(self) -> int:
        return limits.ANSWERS_QUEUED_MAX if self.session.producer else limits.VIEWER_ANSWERS_QUEUED_MAX

    def _hold(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._call.pause()
        if self._paced_until > self.heard_at:
            self._set_timer(self._paced_until, self.room_again)

    def room_again(self) -> None:
        """Reads on if there is room: something has changed."""
        if not self._is_held or self.session.state is State.CLOSING:
            return
        # A held client is not a silent one.
        self.heard_at = self._desk.loop.time()
        if self._must_wait():
            self._hold()
        else:
            self._is_held = False
            self._call.resume()

    def _set_timer(self, at: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._desk.loop.call_at(at, call)

    # What becomes of the events (ingest.intake.Sender).

    def stored(self, first: int, last: int, position: Position) -> None:
        self.session.settled(first, last, position)
        self.say()

    def shed(self, seq: int) -> None:
        self.session.settled(seq, seq, None, shed=True)
        self.say()

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self._put(reject_of("", seq, error, maybe_stored))
        self.session.settled(seq, seq, None)

    def relayed(self, origin_id: str) -> Relayed:
        return Relayed(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)
        self.say()

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        self._put(reject_of(origin_id, seq, error, maybe_stored))
        self.session.relayed_refused()

    # What the client is told.

    def offer(self, credit: int, reason: str) -> None:
        """Announces how much may be unacked from now on."""
        if credit != self.credit and self.session.state in (State.OPEN, State.DRAINING):
            self.credit = credit
            self._put(PublishResponse(credit=Credit(credit=credit, reason=reason)))
            if self._must_wait():
                self._hold()

    def heartbeat(self) -> None:
        if self.session.state is not State.NEW:  # also while what was taken is settled
            self._outbox.append(_HEARTBEAT)
            self.say()

    def warn_of_expiry(self) -> None:
        self.is_warned = True
        warning = TokenExpiring()
        warning.expires_at.FromNanoseconds(int(self.expires_at_s * 1e9))
        self._put(PublishResponse(token_expiring=warning))

    def drain(self, reconnect_after_s: float) -> None:
        """Asks the client to finish and go elsewhere."""
        if self.session.state is State.NEW:
            self.end(Unavailable("this ingest is going away; connect again"))
        elif self.session.state is State.OPEN:
            self.session.step(Input.DRAIN)
            drain = Drain()
            drain.reconnect_after.FromNanoseconds(int(reconnect_after_s * 1e9))
            self._put(PublishResponse(drain=drain))

    def _put(self, response: PublishResponse) -> None:
        self._outbox.append(response.SerializeToString())
        self.say()

    def say(self) -> None:
        if not (self.is_queued or self.is_gone):
            self._desk.answers.add(self)

    def speak(self) -> None:
        """Sends what there is; an Ack after the Rejects of what it covers. Nothing while the client
        does not take what was sent: `writable` comes back to it."""
        if self.is_gone or not self._call.is_writable:
            return
        session, call = self.session, self._call
        self.spoke_at = self._desk.loop.time()
        outbox = self._outbox
        while outbox:
            call.send(outbox.popleft())
            if not call.is_writable:
                return
        ack = session.take_ack()
        if ack is not None:
            call.send(PublishResponse(ack=ack).SerializeToString())
        if session.state is State.CLOSING:
            if not session.unsettled and self._asking is None:
                self._finish()
        elif self._is_held:
            self.room_again()


def reject_of(origin_id: str, seq: int, error: GrandstandError, maybe_stored: bool) -> PublishResponse:
    """`origin_id`: "" for the stream's own."""
    reject = Reject(
        origin_id=origin_id,
        origin_seq=seq,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        maybe_stored=maybe_stored,
    )
    retry_after_s = getattr(error, "retry_after_s", 0.0)
    if retry_after_s:
        reject.retry_after.FromNanoseconds(int(retry_after_s * 1e9))
    return PublishResponse(reject=reject)
