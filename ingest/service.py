"""IngestService: the async shell around Session, check and Publisher.

A stream has one reader task and one writer (the handler's own generator). They meet in
`_Stream`. Acks are conflated into one; refusals and receipts cannot be, so while a client
leaves ANSWERS_QUEUED_MAX of them unread, nothing more is read from its stream and HTTP/2 flow
control holds it back. A stream that ends, for whatever reason, first settles what it has
accepted and acks it, so nothing durable goes unsaid while anyone listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator

import grpc
from google.protobuf.duration_pb2 import Duration
from opentelemetry.trace import SpanKind

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import Drain, EventBatch, PublishRequest, PublishResponse, Reject
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceServicer
from ingest.check import Checker, Row
from ingest.publisher import Publisher
from ingest.room import Room
from ingest.session import Session
from mesh import limits, subjects, telemetry
from mesh.catalog import CatalogWatch
from mesh.errors import GrandstandError, Unavailable, Unknown
from mesh.runtime import Runtime, answering

log = logging.getLogger(__name__)


class IngestService(IngestServiceServicer):
    def __init__(self, runtime: Runtime, catalog: CatalogWatch, publisher: Publisher, room: Room) -> None:
        self._runtime = runtime
        self._catalog = catalog
        self._checker = Checker(catalog.view)
        self._publisher = publisher
        self._room = room

    async def Publish(
        self, request_iterator: AsyncIterator[PublishRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[PublishResponse]:
        stream = _Stream()
        reader = asyncio.create_task(self._read(stream, request_iterator))
        drainer = asyncio.create_task(self._tell_drain(stream))
        try:
            async with answering(context):
                async for response in stream.responses():
                    yield response
        finally:
            for task in (reader, drainer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _tell_drain(self, stream: _Stream) -> None:
        await self._runtime.draining.wait()
        delay = Duration()
        delay.FromNanoseconds(int(limits.DRAIN_RECONNECT_S * 1e9))
        stream.put(PublishResponse(drain=Drain(reconnect_after=delay)))
        stream.end(Unavailable("this ingest is going away; resume on a new stream"))

    async def _read(self, stream: _Stream, requests: AsyncIterator[PublishRequest]) -> None:
        try:
            async for request in requests:
                await stream.room()
                if stream.is_ending:
                    return
                if request.WhichOneof("message") == "hello":
                    welcome = stream.session.hello(request.hello, now_s=time.time(), entropy=os.urandom(12))
                    stream.put(PublishResponse(welcome=welcome))
                else:
                    await self._take(stream, stream.session.events(request))
            stream.end(None)
        except GrandstandError as error:
            stream.end(error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            log.exception("a stream failed")
            stream.end(GrandstandError(f"internal error: {type(error).__name__}"))

    async def _take(self, stream: _Stream, batch: EventBatch) -> None:
        await self._publisher.room()
        if (full := self._room.refusal()) is not None:
            for event in batch.events:
                stream.not_stored(event.origin_id, event.origin_seq, full)
            return
        session = stream.session
        with telemetry.batch_span(
            "receive events",
            SpanKind.SERVER,
            [batch.traceparent],
            {
                "rpc.service": "grandstand.ingest.v1.IngestService",
                "messaging.batch.message_count": len(batch.events),
            },
        ):
            ticket = _Ticket(stream, telemetry.current_traceparent())
            now_s = time.time()
            asked: set[str] = set()
            try:
                for event in batch.events:
                    try:
                        self._publisher.add(await self._check(event, session, now_s, asked), ticket)
                    except GrandstandError as error:
                        stream.refuse(event.origin_id, event.origin_seq, error)
            finally:
                self._publisher.pump()

    async def _check(self, event: Event, session: Session, now_s: float, asked: set[str]) -> Row:
        """As Checker.check, asking the catalog's bucket itself for what the watch has not brought yet.

        `asked` holds the keys that were asked for since `now_s`: what was unknown then, is.
        """
        try:
            return self._checked(event, session, now_s)
        except Unknown:
            unknown = [key for key in _keys(event) if key not in asked]
            if not unknown:
                raise
        asked.update(unknown)
        for key in unknown:
            await self._catalog.refresh(key)
        return self._checked(event, session, now_s)

    def _checked(self, event: Event, session: Session, now_s: float) -> Row:
        return self._checker.check(
            event,
            origin_id=session.origin_id,
            actor_id=session.actor_id,
            now_s=now_s,
            producer=session.producer,
        )


def _keys(event: Event) -> list[str]:
    """The catalog's keys that the event depends on. The game comes last: what is read after its
    topic is open has its final spread."""
    keys = []
    match event.WhichOneof("body"):
        case "vote":
            keys.append(subjects.poll_key(event.game_id, event.vote.poll_id))
        case "score":
            keys.append(subjects.board_key(event.game_id, event.score.board_id))
    return [*keys, subjects.game_key(event.game_id)]


class _Ticket:
    """Tells a stream what became of its events."""

    __slots__ = ("_stream", "traceparent")

    def __init__(self, stream: _Stream, traceparent: str) -> None:
        self._stream = stream
        self.traceparent = traceparent

    def durable(self, row: Row, position: Position) -> None:
        self._stream.durable(row, position)

    def refused(self, row: Row, error: GrandstandError) -> None:
        self._stream.refuse(self._stream.named(row), row.origin_seq, error)

    def failed(self, row: Row, error: GrandstandError) -> None:
        self._stream.not_stored(self._stream.named(row), row.origin_seq, error)


class _Stream:
    """Where the reader, the publisher and the writer of one stream meet."""

    def __init__(self) -> None:
        self.session = Session()
        self.is_ending = False
        self._error: GrandstandError | None = None
        self._not_stored = 0
        self._outbox: list[PublishResponse] = []
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()

    async def room(self) -> None:
        """Waits until the client has taken enough of its answers."""
        while len(self._outbox) + self.session.receipts_owed >= limits.ANSWERS_QUEUED_MAX:
            self._taken.clear()
            await self._taken.wait()

    def put(self, response: PublishResponse) -> None:
        self._outbox.append(response)
        self._wake.set()

    def refuse(self, origin_id: str, origin_seq: int, error: GrandstandError) -> None:
        self.put(
            PublishResponse(
                reject=Reject(
                    origin_id=origin_id,
                    origin_seq=origin_seq,
                    code=error.code,
                    message=error.message,
                    retryable=error.retryable,
                )
            )
        )
        self.session.refused(origin_id, origin_seq)

    def named(self, row: Row) -> str:
        """The row's origin as this stream names it: "" for its own."""
        return "" if row.origin_id == self.session.origin_id else row.origin_id

    def durable(self, row: Row, position: Position) -> None:
        self.session.durable(self.named(row), row.origin_seq, position)
        self._wake.set()

    def not_stored(self, origin_id: str, origin_seq: int, error: GrandstandError) -> None:
        """A relayed event is rejected for the relay to send again; one of the stream's own ends
        the stream, because a cumulative ack could not step over it. It ends UNAVAILABLE whatever
        the reason: the one code that tells every client to resume and send again."""
        if origin_id:
            self.refuse(origin_id, origin_seq, error)
        else:
            self._not_stored += 1
            self.end(error if isinstance(error, Unavailable) else Unavailable(error.message))

    def end(self, error: GrandstandError | None) -> None:
        """The stream ends once what it accepted is settled; the first reason stands."""
        if not self.is_ending:
            self.is_ending = True
            self._error = error
        self._wake.set()

    async def responses(self) -> AsyncIterator[PublishResponse]:
        """What to send, in order; then raises the error the stream ends with, if any."""
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        while True:
            self._wake.clear()
            outbox, self._outbox = self._outbox, []
            ack = self.session.take_ack()
            for response in outbox:
                yield response
            if ack is not None:
                yield PublishResponse(ack=ack)
            self._taken.set()
            if self._outbox:
                continue
            if self.is_ending:
                give_up_at = give_up_at or loop.time() + limits.PUBLISH_DEADLINE_S + 1
                if self.session.unsettled == self._not_stored or loop.time() >= give_up_at:
                    if self._error is not None:
                        raise self._error
                    return
            timeout_s = None if give_up_at is None else give_up_at - loop.time()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)
