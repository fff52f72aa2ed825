"""One Publish stream: the thin shell around its Session.

The handler's own task reads; answers are sent by `ingest.answers`, so an idle stream costs one
task that waits. Whoever ends the stream from outside (silence, an expired token, a drain)
cancels the read and leaves the reason. A stream that ends, for whatever reason, first
settles what it has taken and acks it, so nothing durable goes unsaid while anyone listens.

Reading goes on only while there is room: for events in this ingest, for this client's answers,
within its credit, and once its debt to the rates is paid. Until then HTTP/2 flow control holds the
client back; nobody else notices.

Bounds: ANSWERS_QUEUED_MAX refusals and receipts that the client has not taken (acks are conflated
into one), and one message of at most INGEST_MESSAGE_BYTES_MAX.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import grpc
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
from ingest.answers import Answers
from ingest.check import keys_of
from ingest.intake import Intake, Relayed, Unheard
from ingest.pressure import Pressure
from ingest.publisher import Publisher
from ingest.session import Input, Session, State
from mesh import limits, telemetry
from mesh.auth.identity import Identity
from mesh.catalog import CatalogWatch
from mesh.errors import GrandstandError, Invalid, Unavailable

log = logging.getLogger(__name__)

# How many things that it has not heard of a message may make this ingest ask for.
KEYS_ASKED_MAX = 64

_HEARTBEAT = PublishResponse(heartbeat=Heartbeat()).SerializeToString()


@dataclass(frozen=True, slots=True)
class Desk:
    """What all streams share."""

    intake: Intake
    publisher: Publisher
    answers: Answers
    catalog: CatalogWatch
    pressure: Pressure


class Stream:
    """Where the reader, the publisher and the answers of one stream meet. `run` is its life."""

    __slots__ = (
        "_context",
        "_desk",
        "_error",
        "_identity",
        "_is_speaking",
        "_outbox",
        "_paced_until",
        "_task",
        "_waiter",
        "credit",
        "heard_at",
        "is_gone",
        "is_queued",
        "is_warned",
        "session",
        "spoke_at",
    )

    is_relayed = False

    def __init__(self, desk: Desk, context: Any, identity: Identity, now: float) -> None:
        self.session = Session()
        self.credit = 0
        """As announced last."""
        self.heard_at = now
        self.spoke_at = now
        self.is_gone = False
        self.is_queued = False
        self.is_warned = False
        self._desk = desk
        self._context = context
        self._identity = identity
        self._error: GrandstandError | None = None
        self._outbox: list[bytes] = []
        self._is_speaking = False
        self._paced_until = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._task = asyncio.current_task()

    @property
    def expires_at_s(self) -> float:
        return self._identity.expires_at_s

    @property
    def is_held(self) -> bool:
        """Its client waits for us: nothing is read, so nothing can be heard."""
        return self._waiter is not None

    async def run(self) -> GrandstandError | None:
        """Until the stream has ended and what it took is settled and said; why it ended, None for OK."""
        try:
            await self._read()
            self.session.step(Input.HALF_CLOSE)
        except GrandstandError as error:
            self._error = self._error or error
        except asyncio.CancelledError:
            if self._error is None:
                self.is_gone = True
                raise
            assert self._task is not None
            self._task.uncancel()
        self.session.state = State.CLOSING
        try:
            await self._settle()
        finally:
            self.is_gone = True
        return self._error

    def end(self, error: GrandstandError) -> None:
        """Ends the stream from outside; the first reason stands."""
        if self._error is None and self.session.state is not State.CLOSING:
            self._error = error
            assert self._task is not None
            self._task.cancel()

    # What the reader does.

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        read = self._context.read
        while (data := await read()) is not grpc.aio.EOF:
            self.heard_at = loop.time()
            unheard: Unheard = []
            try:
                self._receive(data, unheard)
            finally:
                if unheard:
                    await self._ask_catalog(unheard)
            if self._must_wait():
                await self._wait_to_read()

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
            case "hello":
                self._open(message.hello)
            case _:
                raise Invalid(f"message: {len(data)} bytes without hello, events or heartbeat")

    def _open(self, data: bytes) -> None:
        try:
            hello = Hello.FromString(data)
        except DecodeError:
            raise Invalid(f"hello: {len(data)} bytes that are no Hello") from None
        session = self.session
        welcome = session.hello(hello, self._identity, now_s=time.time(), entropy=os.urandom(12))
        self.credit = welcome.credit = self._desk.pressure.credit(session.credit_max)
        self._put(PublishResponse(welcome=welcome))

    def _take(self, batch: IncomingBatch, unheard: Unheard, cause: str) -> None:
        now = self.heard_at
        desk = self._desk
        try:
            wait_s = desk.intake.take(self, batch.events, time.time(), now, unheard, cause)
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

    async def _ask_catalog(self, unheard: Unheard) -> None:
        """What the watch has not brought yet is asked of the catalog's bucket itself."""
        topics, games = keys_of(event for event, _ in unheard)
        refresh = self._desk.catalog.refresh
        await asyncio.gather(*map(refresh, topics[:KEYS_ASKED_MAX]))
        # After them: a game that is read once its topic is open has its final spread.
        await asyncio.gather(*map(refresh, games[:KEYS_ASKED_MAX]))
        desk, at = self._desk, asyncio.get_running_loop().time()
        desk.intake.take_unheard(self, unheard, time.time(), at)
        desk.publisher.pump_if_due(at)

    def _must_wait(self) -> bool:
        """Whether there is no room to read on."""
        session = self.session
        return (
            session.unacked > self.credit
            or (self.credit == 0 and session.next_seq > 1)
            or not self._desk.publisher.has_room
            or self._paced_until > self.heard_at
            or len(self._outbox) + session.receipts_owed >= limits.ANSWERS_QUEUED_MAX
        )

    async def _wait_to_read(self) -> None:
        loop = asyncio.get_running_loop()
        while self._must_wait():
            self._waiter = loop.create_future()
            timer = None
            if self._paced_until > self.heard_at:
                timer = loop.call_at(self._paced_until, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
            # A held client is not a silent one; and the debt is paid by now, or it is not.
            self.heard_at = loop.time()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def room_again(self) -> None:
        """The ingest has room again, or the credit has changed."""
        self._wake()

    async def _settle(self) -> None:
        """Waits until all that was taken is settled and said. A client that has broken the rules is
        not waited for longer than a block has time."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + limits.PUBLISH_DEADLINE_S + 1
        self.say()
        while self.session.unsettled or self._has_answers or self._is_speaking or self.is_queued:
            if self.is_gone or (self._error is not None and loop.time() >= give_up_at):
                return
            self._waiter = loop.create_future()
            timer = loop.call_at(give_up_at, self._wake) if self._error is not None else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()

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
            self._wake()

    def heartbeat(self) -> None:
        if self.session.state in (State.OPEN, State.DRAINING):
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
        if not (self.is_queued or self._is_speaking or self.is_gone):
            self._desk.answers.add(self)

    @property
    def _has_answers(self) -> bool:
        return bool(self._outbox) or self.session.ack_due

    async def speak(self) -> None:
        """Sends what there is; an Ack after the Rejects of what it covers."""
        self.is_queued = False
        self._is_speaking = True
        try:
            outbox, self._outbox = self._outbox, []
            ack = self.session.take_ack()
            write = self._context.write
            for data in outbox:
                await write(data)
            if ack is not None:
                await write(PublishResponse(ack=ack).SerializeToString())
            self.spoke_at = asyncio.get_running_loop().time()
        except (Exception, asyncio.CancelledError) as error:
            # The client has gone; its handler's task hears of it too.
            if not self._context.cancelled():
                log.warning("an answer was not sent: %r", error)
            self.is_gone = True
        finally:
            self._is_speaking = False
            if self._has_answers and not self.is_gone:
                self.say()
            self._wake()


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
