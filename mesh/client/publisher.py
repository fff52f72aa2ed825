"""A publishing session: events in, receipts out, over any number of broken streams.

Built on IngestService.Publish. The session keeps one origin for its whole life; each stream is
an attempt to settle the window that `Outbox` holds. Sides: `submit` and `send` may be called
from many tasks of one event loop; one task owns the stream's reading, one its writing.

Delivery. A receipt means the event is stored (I1) and will be counted once (I2). An event whose stream
broke before its Ack is sent again under the same number on the next stream; the caller sees
only that its receipt takes longer. The session gives up only where resending cannot help
(see `errors.FINAL`), and then fails every receipt it still owes with SessionLost.

Bound (I7): at most Welcome.credit events are unsettled; then `submit` waits, first come, first
served. Before the first Welcome the bound is CREDIT_AT_FIRST.

A worked loss: events 7 to 9 are sent, ingest stores 7 and 8 and is killed before its Ack. The
stream ends UNAVAILABLE; after a jittered delay Hello{origin, next_origin_seq = 7} goes to another
ingest and 7 to 9 go again. The fold finds 7 and 8 in the origin's window and counts 9 only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any

import grpc.aio

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from mesh.client.backoff import Backoff
from mesh.client.credentials import Token, call_metadata
from mesh.client.errors import CODES, FINAL, ClientError, Refused, SessionLost
from mesh.client.outbox import Outbox
from mesh.client.pending import Pending, Receipt, set_error, to_batch
from mesh.client.tracing import current_traceparent

CREDIT_AT_FIRST = 64
BATCH_EVENTS_AT_FIRST = 1_000
BATCH_BYTES_AT_FIRST = 256 * 1024
# Room in a message for its envelope and the trace context.
ENVELOPE_BYTES = 1_024
EVENT_OVERHEAD_BYTES = 16
# Ingest answers or ends the stream within its publish deadline of 5 s; a stream that owes
# answers and says nothing for this long is dead, and is given up.
SILENCE_MAX_S = 15.0
# How long an orderly end, with everything settled, may take.
CLOSE_S = 2.0


@dataclass(slots=True)
class PublisherCounts:
    """What happened so far, for progress lines."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    # Streams that stood again after one broke.
    resumed: int = 0


class _Restart(Exception):
    """This stream is given up; the next one continues. The wait may be the server's wish."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(slots=True)
class _Stream:
    call: Any
    writer: asyncio.Task[None] | None = None
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    drain_after_s: float | None = None
    # Settled something: the next attempt starts at the shortest delay.
    useful: bool = False
    heard_at: float = 0.0
    silent: bool = False


class Publisher:
    """Sends the events of one origin. Use as `async with Publisher(channel, actor_id="ana") as publisher`.

    `producer` is for who acts for many actors: each event then names its own. Leaving the block
    waits until every event is settled; leaving it with an exception does not wait.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        actor_id: str = "",
        producer: bool = False,
        client: str = "grandstand-python",
        token: Token | None = None,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        self.origin_id = ""
        self.counts = PublisherCounts()
        self._stub: Any = IngestServiceStub(channel)
        self._hello = Hello(actor_id=actor_id, producer=producer, client=client)
        self._token = token
        self._backoff = backoff or Backoff()
        self._random = random or Random()
        self._outbox: Outbox[Pending] = Outbox(CREDIT_AT_FIRST)
        self._batch_events_max = BATCH_EVENTS_AT_FIRST
        self._batch_bytes_max = BATCH_BYTES_AT_FIRST - ENVELOPE_BYTES
        self._positions: dict[int, int] = {}
        self._room: deque[asyncio.Future[None]] = deque()
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        # Set when the first stream stands, or none ever will.
        self._stands = asyncio.Event()
        self._broke = ""
        self._closing = False
        self._lost: ClientError | None = None
        self._session: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Publisher:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        if kind is None:
            await self.drain()
        await self.aclose()

    def start(self) -> None:
        """Starts the session; it connects by itself. Called by `async with`."""
        if self._session is None:
            self._session = asyncio.get_running_loop().create_task(self._run())

    @property
    def unsettled(self) -> int:
        """How many events have neither a receipt nor a refusal."""
        return len(self._outbox)

    def try_submit(self, event: Event) -> asyncio.Future[Receipt] | None:
        """Takes the event if the credit has room now; None otherwise. See `submit`."""
        if self._lost is not None:
            raise self._lost
        if self._closing:
            raise RuntimeError("the publisher is closed; no further event can be sent")
        if not self._outbox.room:
            return None
        mine = Event()
        mine.CopyFrom(event)
        mine.origin_seq = self._outbox.next_seq
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        pending = Pending(mine, current_traceparent(), receipt)
        self._outbox.append(pending, mine.ByteSize() + EVENT_OVERHEAD_BYTES)
        self.counts.sent += 1
        self._settled.clear()
        self._work.set()
        return receipt

    async def submit(self, event: Event) -> asyncio.Future[Receipt]:
        """Waits for room in the credit and hands the event in; await the result for its receipt.

        The receipt raises Refused for this event alone, SessionLost when the session ended for good.
        """
        while (receipt := self.try_submit(event)) is None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake_waiters()
                raise
        return receipt

    async def send(self, event: Event) -> Receipt:
        """Sends one event and waits until it is stored. Raises Refused or SessionLost."""
        return await (await self.submit(event))

    async def connected(self, timeout_s: float) -> None:
        """Waits until the first stream stands. Raises SessionLost, or ClientError after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stands.wait()
        except TimeoutError:
            raise ClientError(
                grpc.StatusCode.UNAVAILABLE, f"no session after {timeout_s:g} s; {self._broke or 'no answer'}"
            ) from None
        if self._lost is not None:
            raise self._lost

    async def drain(self, timeout_s: float | None = None) -> int:
        """Waits until every event is settled, at most `timeout_s`; returns how many are not."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._outbox) and self._lost is None:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            pass
        return len(self._outbox)

    async def aclose(self) -> None:
        """Ends the session now: half-closes when all is settled, cancels otherwise."""
        self._closing = True
        self._work.set()
        if self._session is not None:
            if len(self._outbox) or self._lost is not None or not self.origin_id:
                self._session.cancel()
            await asyncio.wait([self._session], timeout=CLOSE_S)
            self._session.cancel()
            await asyncio.gather(self._session, return_exceptions=True)
        self._fail(
            SessionLost(grpc.StatusCode.CANCELLED, "the publisher was closed before this event was settled")
        )

    async def _run(self) -> None:
        """Streams, one after the other, until closed or until resending cannot help."""
        attempt = 0
        while not (self._closing and not len(self._outbox)):
            stream = _Stream(self._stub.Publish(metadata=call_metadata(self._token)))
            after_s: float | None = None
            try:
                await self._read(stream)
                after_s = stream.drain_after_s
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    self._fail(SessionLost(error.code(), error.details() or "no details"))
                    return
                self._broke = f"the last attempt ended {error.code().name}: {error.details()}"
            except _Restart as restart:
                after_s = restart.after_s
            except ValueError as error:
                self._fail(SessionLost(grpc.StatusCode.INTERNAL, f"the server broke the protocol: {error}"))
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not stream.silent or (task is not None and task.cancelling()):
                    raise
            finally:
                stream.call.cancel()
                if stream.writer is not None:
                    stream.writer.cancel()
                    await asyncio.gather(stream.writer, return_exceptions=True)
            if self._closing and not len(self._outbox):
                return
            attempt = 0 if stream.useful else attempt + 1
            await asyncio.sleep(self._backoff.delay_s(attempt, self._random) if after_s is None else after_s)

    async def _read(self, stream: _Stream) -> None:
        """Opens the stream and reads until it ends."""
        loop = asyncio.get_running_loop()
        stream.heard_at = loop.time()
        stream.writer = loop.create_task(self._write(stream))
        while (response := await stream.call.read()) is not grpc.aio.EOF:
            stream.heard_at = loop.time()
            self._take(stream, response)

    def _take(self, stream: _Stream, response: PublishResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "ack":
            ack = response.ack
            positions = self._newest(ack.positions)
            for done in self._outbox.ack(ack.origin_seq):
                self.counts.acked += 1
                if not done.receipt.done():
                    done.receipt.set_result(Receipt(self.origin_id, done.event.origin_seq, positions))
            stream.useful = True
            if not self._outbox.in_flight:
                self._positions.clear()
            self._after_settling()
        elif kind == "reject":
            reject = response.reject
            if reject.retryable:
                raise _Restart(f"origin_seq {reject.origin_seq}: {reject.message}")
            refused = self._outbox.refuse(reject.origin_seq)
            if refused is not None:
                self.counts.refused += 1
                pending, maybe_stored = refused
                code = CODES.get(reject.code, grpc.StatusCode.UNKNOWN)
                set_error(pending.receipt, Refused(code, reject.message, maybe_stored=maybe_stored))
        elif kind == "welcome":
            welcome = response.welcome
            if welcome.next_origin_seq != self._outbox.frontier:
                announced = self._outbox.frontier
                raise ValueError(
                    f"it expects origin_seq {welcome.next_origin_seq} next, but {announced} was announced"
                )
            self.counts.resumed += bool(self.origin_id)
            self.origin_id = welcome.origin_id
            self._outbox.credit = max(1, welcome.credit)
            self._batch_events_max = welcome.batch_events_max or BATCH_EVENTS_AT_FIRST
            self._batch_bytes_max = (welcome.message_bytes_max or BATCH_BYTES_AT_FIRST) - ENVELOPE_BYTES
            stream.welcomed.set()
            self._stands.set()
            self._wake_waiters()
        elif kind == "drain":
            stream.draining = True
            stream.drain_after_s = response.drain.reconnect_after.ToNanoseconds() / 1e9
            self._work.set()

    def _newest(self, positions: Iterable[Position]) -> tuple[Position, ...]:
        """The newest position by partition since something is in flight.

        An event may be stored, and its position told, before the Ack that covers it: its
        predecessor was slower. So a receipt carries what earlier Acks said, too.
        """
        for position in positions:
            if self._positions.get(position.partition, 0) < position.sequence:
                self._positions[position.partition] = position.sequence
        return tuple(Position(partition=p, sequence=s) for p, s in self._positions.items())

    async def _write(self, stream: _Stream) -> None:
        """Says hello, then sends what waits. How the stream ended is the reader's to see."""
        call = stream.call
        try:
            hello = Hello()
            hello.CopyFrom(self._hello)
            hello.origin_id = self.origin_id
            hello.next_origin_seq = self._outbox.resume()
            await call.write(PublishRequest(hello=hello))
            await self._unless_silent(stream, stream.welcomed)
            while not stream.draining:
                batch = self._outbox.take(self._batch_events_max, self._batch_bytes_max)
                if batch:
                    await call.write(PublishRequest(events=to_batch(batch)))
                elif self._closing and not len(self._outbox):
                    break
                else:
                    self._work.clear()
                    await self._unless_silent(stream, self._work)
            await call.done_writing()
            while True:
                await self._unless_silent(stream, asyncio.Event())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    async def _unless_silent(self, stream: _Stream, event: asyncio.Event) -> None:
        """Waits for `event`; gives the stream up when the server owes an answer for too long."""
        loop = asyncio.get_running_loop()
        while not event.is_set():
            asked_at = loop.time()
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    await event.wait()
            except TimeoutError:
                owes = (
                    self._outbox.in_flight or not stream.welcomed.is_set() or stream.draining or self._closing
                )
                if owes and stream.heard_at < asked_at:
                    stream.silent = True
                    stream.call.cancel()
                    return

    def _after_settling(self) -> None:
        self._settled.set()
        if self._closing:
            self._work.set()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        """Lets as many waiting senders go on as there is room for."""
        room = self._outbox.room if self._lost is None else len(self._room)
        while room and self._room:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    def _fail(self, error: SessionLost) -> None:
        self._lost = self._lost or error
        for pending, _ in self._outbox.abandon():
            set_error(pending.receipt, error)
        self._settled.set()
        self._stands.set()
        self._wake_waiters()
