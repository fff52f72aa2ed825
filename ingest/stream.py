"""One Publish stream: the thin shell around its IngestSession.

Everything here runs on the event loop, called by the engine that owns the connection (mesh.http2): a message
was received, the client half-closed or disconnected, the call is writable again. So an idle stream is a few
objects and no task. A stream that ends, for whatever reason, first settles what it has taken and acks it, so
no stored event stays unacknowledged while the client still listens.

The stream is read only while there is room for events in this ingest and for this client's responses, within
its credit, and once its rate debt is paid. Otherwise HTTP/2 flow control holds this client back, and no
other.

Bounds: (VIEWER_)ANSWERS_QUEUED_MAX rejects and receipts that the client has not read (acks are conflated into
one), and one message of at most INGEST_MESSAGE_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.trace import SpanKind

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import (
    Credit,
    Drain,
    Heartbeat,
    Hello,
    PublishResponse,
    TokenExpiring,
)
from grandstand.internal.v1.internal_pb2 import Incoming, IncomingBatch
from grandstand.wire.errors import GrandstandError, Invalid, Unavailable
from ingest import bounds
from ingest.check import keys_of
from ingest.intake import Intake, RelayedTicket, StaleCatalog, Unresolved
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.rejecting import reject_of
from ingest.response_scheduler import ResponseScheduler
from ingest.session import IngestSession, Input, SessionState
from mesh import limits, telemetry
from mesh.auth.identity import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.http2.call import Call

log = logging.getLogger(__name__)

# Maximum catalog keys that one message may make this ingest look up.
KEYS_ASKED_MAX = 64

# Pause in reading after a heartbeat: bounds the rate of a heartbeat flood.
HEARTBEAT_PAUSE_S = 0.001

_HEARTBEAT = PublishResponse(heartbeat=Heartbeat()).SerializeToString()


@dataclass(frozen=True, slots=True)
class StreamContext:
    """What all streams share."""

    intake: Intake
    publisher: BlockPublisher
    responses: ResponseScheduler
    catalog: CatalogWatch
    pressure: Pressure
    origins: Origins
    loop: asyncio.AbstractEventLoop
    rejections: dict[str, int] = field(default_factory=dict)
    """Events that were refused, by the error's name."""

    def count(self, error: GrandstandError) -> None:
        name = type(error).__name__
        self.rejections[name] = self.rejections.get(name, 0) + 1


class PublishStream:
    """Connects the call, the publisher and the responses of one stream; implements mesh.http2.Handler.

    `on_end` is called once, when the stream is over.
    """

    __slots__ = (
        "_asking",
        "_call",
        "_context",
        "_error",
        "_identity",
        "_is_held",
        "_on_end",
        "_outbox",
        "_paced_until",
        "_timer",
        "credit",
        "is_gone",
        "is_queued",
        "leaves_by",
        "received_at",
        "sent_at",
        "session",
    )

    is_relayed = False

    def __init__(
        self, context: StreamContext, call: Call, identity: Identity, on_end: Callable[[PublishStream], None]
    ) -> None:
        self.session = IngestSession()
        self.credit = 0
        """As announced last."""
        self.received_at = self.sent_at = context.loop.time()
        self.leaves_by = math.inf
        """When a stream that was asked to finish is ended."""
        self.is_gone = False
        self.is_queued = False
        self._context = context
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
    def is_held(self) -> bool:
        """Reading is paused, so silence is not the client's fault."""
        return self._is_held

    @property
    def asks(self) -> bool:
        """A catalog look-up is under way."""
        return self._asking is not None

    # mesh.http2.call.Handler.

    def received(self, message: bytes) -> None:
        if self.session.state is SessionState.CLOSING:
            return
        self.received_at = self._context.loop.time()
        unresolved: Unresolved = []
        error = None
        try:
            self._receive(message, unresolved)
        except GrandstandError as found:
            error = found
        except Exception as fault:
            log.exception("a stream failed")
            error = GrandstandError(f"internal error: {type(fault).__name__}; see ingest's log")
        if unresolved:
            self._ask_catalog(unresolved)
        if error is not None:
            self.end(error)
        elif self._must_wait():
            self._hold()

    def half_closed(self) -> None:
        if self.session.state is not SessionState.CLOSING:
            self.session.step(Input.HALF_CLOSE)
            self.schedule_responses()

    def writable(self) -> None:
        self.schedule_responses()

    def gone(self) -> None:
        self._over()

    # Ending.

    def end(self, error: GrandstandError) -> None:
        """Ends the stream with an error, once what it took is settled and acked; the first error stands.
        Waits no longer for that than a block's publish deadline allows."""
        if self.is_gone or self.session.state is SessionState.CLOSING:
            return
        self._error = error
        self.session.close()
        self._call.pause()
        self._set_timer(self._context.loop.time() + limits.PUBLISH_DEADLINE_S + 1, self._finish)
        self.schedule_responses()

    def _finish(self) -> None:
        if not self.is_gone:
            error = self._error
            if error is None:
                self._call.end()
            else:
                self._call.end(error.code, error.message, error.retry_after_s)
            self._over()

    def _over(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self.session.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:  # nobody listens; the client sends it again on another stream
            self._asking.cancel()
        self._on_end(self)

    # Reading.

    def _receive(self, data: bytes, unresolved: Unresolved) -> None:
        """Takes one message. Raises GrandstandError where the stream must end."""
        try:
            message = Incoming.FromString(data)
        except DecodeError:
            raise Invalid(f"message: {len(data)} bytes that are no PublishRequest") from None
        match message.WhichOneof("message"):
            case "events":
                batch = message.events
                # A viewer's context would have everything traced that it sends.
                if batch.traceparent and self._identity.producer and telemetry.is_sampled(batch.traceparent):
                    self._take_traced(batch, unresolved)
                else:
                    self._take(batch, unresolved, "")
            case "heartbeat":
                self.session.step(Input.HEARTBEAT)
                self._paced_until = max(self._paced_until, self.received_at + HEARTBEAT_PAUSE_S)
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
            *(hello, self._identity, self._context.origins),
            now_s=self._context.catalog.clock.now_s(),
            at_s=self.received_at,
            entropy=os.urandom(ENTROPY_BYTES),
        )
        self.credit = welcome.credit = self._context.pressure.credit(session.credit_max)
        self._put(PublishResponse(welcome=welcome))
        owes_s = self._context.intake.owes_s(session.actor_id, self._context.catalog.clock.now_s())
        if owes_s > 0.0 and session.paying_producer is None and not session.producer:
            self._paced_until = self.received_at + owes_s

    def _take(self, batch: IncomingBatch, unresolved: Unresolved, cause: str) -> None:
        now = self.received_at
        context = self._context
        catalog = context.catalog
        freshness, received_s = catalog.freshness, boot_s()
        try:
            wait_s = context.intake.take(
                self,
                batch.events,
                received_s + catalog.clock.offset_s,
                now,
                unresolved,
                cause,
                anchor_s=freshness.anchor_s,
                is_fresh=received_s <= freshness.fresh_until_s,
            )
        finally:
            context.publisher.pump_if_due(now)
        if wait_s > 0.0:
            self._paced_until = now + wait_s

    def _take_traced(self, batch: IncomingBatch, unresolved: Unresolved) -> None:
        attributes: dict[str, str | int] = {
            "rpc.service": "grandstand.ingest.v1.IngestService",
            "messaging.batch.message_count": len(batch.events),
        }
        with telemetry.batch_span("receive events", SpanKind.SERVER, [batch.traceparent], attributes) as span:
            self._take(batch, unresolved, span.traceparent if span else "")

    def _ask_catalog(self, unresolved: Unresolved) -> None:
        """Looks up in the catalog's bucket what the watch has not delivered yet, once the view is fresh. The
        stream is not read meanwhile, so that its events keep their order."""
        self._asking = self._context.loop.create_task(self._asked(unresolved, boot_s()))
        self._hold()

    async def _asked(self, unresolved: Unresolved, received_s: float) -> None:
        context = self._context
        catalog = context.catalog
        topics, games = keys_of(event for event, _ in unresolved)
        while True:
            await catalog.until_fresh()
            # A game that is read once its topic is open has its final spread.
            is_answered = await catalog.refresh_all(topics[:KEYS_ASKED_MAX])
            is_answered &= await catalog.refresh_all(games[:KEYS_ASKED_MAX])
            now_s = boot_s()
            if is_answered and catalog.freshness.is_fresh(now_s):
                break
            await asyncio.sleep(bounds.ASK_AGAIN_S)
        self._asking = None
        at = context.loop.time()
        # A held event is validated at its time of receipt, unless that is too long ago.
        is_held = any(isinstance(error, StaleCatalog) for _, error in unresolved)
        validated_at_s = received_s if is_held and now_s - received_s <= limits.VIEW_FRESH_S else now_s
        anchor_s = catalog.freshness.anchor_s
        context.intake.take_unresolved(
            self, unresolved, catalog.clock.at_s(validated_at_s), at, anchor_s=anchor_s
        )
        context.publisher.pump_if_due(at)
        self.resume()

    # Backpressure.

    def _must_wait(self) -> bool:
        """Whether reading must pause."""
        session = self.session
        return (
            session.unacked > self.credit
            or (self.credit == 0 and session.next_seq > 1)
            or not self._context.publisher.has_room
            or self._paced_until > self.received_at
            or len(self._outbox) + session.receipts_owed >= self._answers_max
            or self._asking is not None
        )

    @property
    def _answers_max(self) -> int:
        return bounds.ANSWERS_QUEUED_MAX if self.session.producer else bounds.VIEWER_ANSWERS_QUEUED_MAX

    def _hold(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._call.pause()
        if self._paced_until > self.received_at:
            self._set_timer(self._paced_until, self.resume)

    def resume(self) -> None:
        """Resumes reading if the conditions for it hold again."""
        if not self._is_held or self.session.state is SessionState.CLOSING:
            return
        # A held client is not a silent one.
        self.received_at = self._context.loop.time()
        if self._must_wait():
            self._hold()
        else:
            self._is_held = False
            self._call.resume()

    def _set_timer(self, at: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._context.loop.call_at(at, call)

    # ingest.intake.IntakeSender.

    def stored(self, first: int, last: int, position: Position) -> None:
        self.session.settled(first, last, position)
        self.schedule_responses()

    def shed(self, seq: int) -> None:
        self.session.settled(seq, seq, None, shed=True)
        self.schedule_responses()

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self._context.count(error)
        self._put(reject_of("", seq, error, maybe_stored))
        self.session.settled(seq, seq, None)

    def relayed(self, origin_id: str) -> RelayedTicket:
        return RelayedTicket(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)
        self.schedule_responses()

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        self._context.count(error)
        self._put(reject_of(origin_id, seq, error, maybe_stored))
        self.session.relayed_refused()

    # Responses.

    def offer(self, credit: int, reason: str) -> None:
        """Announces a new credit."""
        if credit != self.credit and self.session.state in (SessionState.OPEN, SessionState.DRAINING):
            self.credit = credit
            self._put(PublishResponse(credit=Credit(credit=credit, reason=reason)))
            if self._must_wait():
                self._hold()

    def heartbeat(self) -> None:
        if self.session.state is not SessionState.NEW:  # also while what was taken is settled
            self._outbox.append(_HEARTBEAT)
            self.schedule_responses()

    def warn_of_expiry(self, expires_at_s: float) -> bool:
        """As mesh.auth.token_streams.TokenStream; the first response is the Welcome."""
        if self.session.state is SessionState.NEW:
            return False
        warning = TokenExpiring()
        warning.expires_at.FromNanoseconds(int(expires_at_s * 1e9))
        self._put(PublishResponse(token_expiring=warning))
        return True

    def drain(self, reconnect_after_s: float) -> bool:
        """Asks the client to finish and to resume on another stream; True if that was not asked before."""
        if self.session.state is SessionState.NEW:
            self.end(Unavailable("this ingest is going away; connect again"))
        elif self.session.state is SessionState.OPEN:
            self.session.step(Input.DRAIN)
            self.leaves_by = self._context.loop.time() + bounds.FINISH_PATIENCE_S
            drain = Drain()
            drain.reconnect_after.FromNanoseconds(int(reconnect_after_s * 1e9))
            self._put(PublishResponse(drain=drain))
            return True
        return False

    def _put(self, response: PublishResponse) -> None:
        self._outbox.append(response.SerializeToString())
        self.schedule_responses()

    def schedule_responses(self) -> None:
        if not (self.is_queued or self.is_gone):
            self._context.responses.add(self)

    def send_responses(self) -> None:
        """Sends queued responses, the Ack after the Rejects that it covers. Does nothing while the call is
        not writable: `writable` schedules it again."""
        if self.is_gone or not self._call.is_writable:
            return
        session, call = self.session, self._call
        self.sent_at = self._context.loop.time()
        outbox = self._outbox
        while outbox:
            call.send(outbox.popleft())
            if not call.is_writable:
                return
        ack = session.take_ack()
        if ack is not None:
            call.send(ack)
        if session.state is SessionState.CLOSING:
            if not session.unsettled and self._asking is None:
                self._finish()
        elif self._is_held:
            self.resume()
