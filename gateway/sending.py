"""Send: one event up, checked here, carried by the relay, answered when it is durable.

A call costs its objects and nothing of asyncio: no task, no future, no timer. The token is asked for as the
call opens, before a byte of its request is read (I10), then what `check_event` asks for. An event whose
origin is not taken is refused, and a new origin goes along in the status's details.

Bounds: one request of the listener's size for each open call; unanswered events are the relay's to bound.
A client that goes away takes its place in the relay with it: the event may be stored all the same, and under
the same identity it can be sent again (I2).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.gateway.v1.gateway_pb2 import IssueOriginResponse, SendRequest
from grandstand.wire import actors, ids
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid, OriginRefused, Unauthenticated, shown
from mesh import telemetry, wall_clock
from mesh.auth import Identity, Verifies, authorization_of
from mesh.auth.origins import ENTROPY_BYTES, Origins, owner_of
from mesh.http2.call import Call, Handler
from mesh.http2.errors import UNIMPLEMENTED
from mesh.tracing.record import SpanRecord

_CANCELLED = 1
_ORIGIN_SEQ_END = 2**63


class SendHandle(Protocol):
    """Of an event that was submitted (gateway.relay.AnswerWaiter)."""

    def cancel(self) -> None:
        """The caller waits no more."""
        ...


class Sends(Protocol):
    """The part of the relay that Send uses."""

    def submit(
        self,
        event: Event,
        on_answer: Callable[[Position | GrandstandError], None],
        traceparent: str = "",
    ) -> SendHandle:
        """`on_answer` is called once, later, unless it is cancelled. Raises GrandstandError."""
        ...


class Sending:
    """Accepts the calls of Send, and issues the origins for them. `now`: Unix seconds; `clock`: monotonic
    seconds."""

    def __init__(
        self,
        relay: Sends,
        verifier: Verifies,
        origins: Origins,
        now: Callable[[], float] = wall_clock.now_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.submit = relay.submit
        self.now = now
        self.origins = origins
        self._clock = clock
        self._verifier = verifier
        self._is_traced = telemetry.is_on()
        self._has_collector = telemetry.has_collector()
        """Without one nothing is sampled, and only what is forced is of use."""

    def accept(self, call: Call) -> Handler:
        """Raises Unauthenticated, Unavailable."""
        metadata = call.metadata
        if not self._is_traced:
            return _Send(self, call, self.identify(authorization_of(metadata)), None)
        began_ns = wall_clock.now_ns()
        try:
            identity = self.identify(authorization_of(metadata))
        except GrandstandError as error:
            span = telemetry.server_span(call.path, metadata, began_ns)
            telemetry.end_server_span(span, error.code, error.message)
            raise
        span = None
        if self._has_collector or identity.producer:
            span = telemetry.server_span(call.path, metadata, began_ns, may_force=identity.producer)
        return _Send(self, call, identity, span, began_ns)

    def identify(self, authorization: str | None) -> Identity:
        """Whose token it is. Raises Unauthenticated, Unavailable."""
        if authorization is None:
            raise Unauthenticated(
                "token: there is none; get one from the platform or IssueGuest, "
                "and send metadata authorization: Bearer <JWT>"
            )
        return self._verifier.verify(authorization, self.now())

    def issue_origin(self, identity: Identity) -> IssueOriginResponse:
        """Raises Forbidden, Exhausted."""
        origin_id = self.origins.issue(
            identity,
            producer=False,
            now_s=self.now(),
            at_s=self._clock(),
            entropy=os.urandom(ENTROPY_BYTES),
        )
        response = IssueOriginResponse(origin_id=origin_id, credit=ids.origin_credit(origin_id))
        response.expires_at.FromSeconds(ids.origin_issued_at_s(origin_id) + wire_bounds.ORIGIN_AGE_MAX_S)
        return response


class _Send:
    """One call."""

    __slots__ = ("_began_ns", "_call", "_identity", "_request", "_sending", "_span", "_submitted")

    def __init__(
        self,
        sending: Sending,
        call: Call,
        identity: Identity,
        span: SpanRecord | None,
        began_ns: int = 0,
    ) -> None:
        """`began_ns`: Unix nanoseconds, 0 while traces are off."""
        self._sending = sending
        self._call = call
        self._identity = identity
        self._span = span
        self._began_ns = began_ns
        self._request: bytes | None = None
        self._submitted: SendHandle | None = None

    def received(self, message: bytes) -> None:
        if self._request is not None:
            self._end(UNIMPLEMENTED, "a second request; this method takes one")
        self._request = message

    def half_closed(self) -> None:
        request, sending = self._request, self._sending
        if request is None:
            self._end(UNIMPLEMENTED, "no request came; this method takes one")
            return
        self._request = b""
        try:
            event = event_in(request)
            check_event(event, self._identity, sending.origins, sending.now())
            traceparent = "" if self._span is None else self._span.traceparent
            self._submitted = sending.submit(event, self._answered, traceparent)
        except GrandstandError as error:
            self._refuse(error)

    def writable(self) -> None:
        pass

    def gone(self) -> None:
        if self._submitted is not None:
            self._submitted.cancel()
        self._end_span(_CANCELLED, "the client has gone")

    def _answered(self, answer: Position | GrandstandError) -> None:
        if isinstance(answer, GrandstandError):
            self._refuse(answer)
            return
        self._call.send(response_of(answer))
        self._end()

    def _refuse(self, error: GrandstandError) -> None:
        origin = None
        if isinstance(error, OriginRefused):
            try:
                origin = self._sending.issue_origin(self._identity)
            except GrandstandError as later:  # too many new ones: the event may come again, and is told then
                error = later
        self._end(error.code, error.message, error.retry_after_s, origin)

    def _end(
        self,
        code: int = 0,
        message: str = "",
        retry_after_s: float | None = None,
        origin: IssueOriginResponse | None = None,
    ) -> None:
        self._call.end(code, message, retry_after_s, origin)
        self._end_span(code, message)

    def _end_span(self, code: int, message: str) -> None:
        if not self._began_ns:
            return
        if self._span is not None:
            telemetry.end_server_span(self._span, code, message)
            self._span = None
        else:
            seconds = (wall_clock.now_ns() - self._began_ns) / 1e9
            if code or seconds > telemetry.SLOW_S:
                telemetry.late_server_span(self._call.path, seconds, code, message)
        self._began_ns = 0


def response_of(position: Position) -> bytes:
    """An encoded SendResponse: `positions` is field 1, and a Position has less than 128 bytes."""
    encoded = position.SerializeToString()
    return bytes((0x0A, len(encoded))) + encoded


def event_in(request: bytes) -> Event:
    try:
        return SendRequest.FromString(request).event
    except DecodeError:
        raise Invalid(
            f"request: its {len(request)} bytes are no {SendRequest.DESCRIPTOR.full_name}; "
            "make it with the proto's generated code"
        ) from None


def check_event(event: Event, identity: Identity, origins: Origins, now_s: float) -> None:
    """Checks what a client may send, and says in the event who acts. `now_s`: Unix seconds.

    Raises Forbidden, Invalid and OriginRefused. What the catalog knows is ingest's to check.
    """
    said_actor_id, game_id, origin_id, origin_seq = (
        event.actor_id,
        event.game_id,
        event.origin_id,
        event.origin_seq,
    )
    actor_id = identity.act_for("event.actor_id", said_actor_id)
    if actor_id != said_actor_id:
        event.actor_id = actor_id
    identity.check_game("event.game_id", game_id)
    owner_of(identity)
    if not origin_id:
        raise Invalid("event.origin_id: is empty; ask IssueOrigin for one")
    if why := origins.refusal(origin_id, identity, producer=False, now_s=now_s):
        raise OriginRefused(f"event.{why}; go on with the new one (an earlier copy of this may be stored)")
    if not 1 <= origin_seq < _ORIGIN_SEQ_END:
        raise Invalid(f"event.origin_seq: is {origin_seq}; 1 to 2^63-1 expected")
    ids.check_id("event.game_id", game_id)
    if actor_id != identity.actor_id or not actor_id:
        actors.check_actor("event.actor_id", actor_id)
    body = event.WhichOneof("body")
    if body is None:
        raise Invalid(
            "event.body: is not set; give a vote, a score, a reaction, a presence, a measure or a custom"
        )
    # Here, because ingest takes what this gateway relays for a producer's own.
    guest = identity.guest or (identity.producer and event.guest)
    if guest != event.guest:
        event.guest = guest
    if body == "score":
        _call(event, identity)
    if body == "vote" and event.vote.weight > 1:
        raise Invalid(
            f"event.vote.weight: is {event.vote.weight}; at most 1 is allowed here, "
            "more only on a producer's own stream (IngestService.Publish)"
        )
    if body == "presence":
        raise Forbidden(
            "event.presence: is not taken here; the gateway itself tells who watches: "
            "open Subscribe with your token"
        )


def _call(event: Event, identity: Identity) -> None:
    """Says in a score what its actor is called. Raises Forbidden."""
    said = event.score.name
    if said and not identity.producer:
        raise Forbidden(
            f"score.name: {shown(said)} is given, and only a producer names actors; leave it empty: "
            "others see the claim name of your token"
        )
    if identity.name and not said and event.actor_id == identity.actor_id:
        event.score.name = identity.name
