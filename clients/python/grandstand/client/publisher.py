"""A publishing session: events in, receipts out, over any number of broken streams.

Built on IngestService.Publish; `session` decides, `publish_driver` carries, this is what a caller sees. The
session keeps its origin until the mesh gives it another one (after a day, or when its key is gone). `submit`
and `send` may be called from many tasks of one event loop, `post` from any thread.

Delivery. A receipt means the event is stored (I1) and will be counted once (I2). An event whose stream
broke before its Ack is sent again under the same number on the next stream; the caller sees only that its
receipt takes longer. The session gives up only where resending cannot help (see `attempts`), and then fails
every receipt it still owes with SessionLost.

Order. Events are stored in about the order they were handed in, but one that was refused for the time being
goes out again behind others. Where order matters (the last vote of a changeable poll), await each receipt.

Bound (I7): at most `credit + buffer_events_max` events are unsettled, each at most a message (256 KiB). What
then happens to the next one is `when_full`'s:

    "wait"         `submit` waits, first come, first served
    "refuse"       `submit` raises BufferFull
    "shed-oldest"  the oldest measure that is not sent yet gives way, else the oldest reaction or presence:
                   its receipt raises Dropped. If there is none, `submit` waits

`post` cannot wait: it raises BufferFull instead. What other threads hand over while the credit shrinks may
exceed the bound by that much.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from random import Random
from types import TracebackType
from typing import Literal

import grpc.aio

from grandstand.client.backoff import Backoff
from grandstand.client.credentials import Token
from grandstand.client.errors import BufferFull, ClientError, Dropped, SessionLost
from grandstand.client.pending import OnDone, Pending, Receipt
from grandstand.client.publish_driver import PublishDriver, PublisherCounts
from grandstand.client.session import EVENT_OVERHEAD_BYTES, PublishSession
from grandstand.client.stream_state import GREETING_MAX_S
from grandstand.client.tracing import current_traceparent
from grandstand.event.v1.event_pb2 import Event
from grandstand.ingest.v1.ingest_pb2 import Hello

WhenFull = Literal["wait", "refuse", "shed-oldest"]

BUFFER_EVENTS_MAX = 1_024
# How long an orderly end, with everything settled, may take.
CLOSE_S = 2.0


class Publisher:
    """Sends the events of one origin. Use as `async with Publisher(channel, actor_id="ana") as publisher`.

    `producer` is for who acts for many actors: each event then names its own. `token` is asked afresh for
    each stream, and again when the mesh says that it expires. Leaving the block waits until every event is
    settled; leaving it with an exception does not wait.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        actor_id: str = "",
        producer: bool = False,
        client: str = "grandstand-python",
        token: Token | None = None,
        when_full: WhenFull = "wait",
        buffer_events_max: int = BUFFER_EVENTS_MAX,
        backoff: Backoff | None = None,
        random: Random | None = None,
        greeting_max_s: float = GREETING_MAX_S,
    ) -> None:
        """`channel`: to the edge or the mesh listener, from `open_channel`. `actor_id`: who acts; "": the
        token's actor. `client`: name and version of the program, for the server's logs. `buffer_events_max`:
        how many events are held beyond the credit. `backoff`, `random`: the waits before a new stream.
        `greeting_max_s`: seconds until a stream without a Welcome is given up. `producer`, `token`: see the
        class; `when_full`: see the module. Connects nothing yet."""
        self._when_full = when_full
        self._session: PublishSession[Pending] = PublishSession(
            buffer_events_max=buffer_events_max,
            backoff=backoff or Backoff(),
            draw=(random or Random()).random,
            greeting_max_s=greeting_max_s,
        )
        hello = Hello(actor_id=actor_id, producer=producer, client=client)
        self._driver = PublishDriver(self._session, channel, hello, token, self._changed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        # What other threads have handed over and the loop has not taken yet.
        self._promised = 0
        self._lock = threading.Lock()
        self._turns: deque[asyncio.Future[None]] = deque()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

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
        """Starts the session; it connects by itself. `async with` calls it. Calling it again does nothing.
        Needs a running event loop."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            self._task = self._loop.create_task(self._driver.run())

    @property
    def origin_id(self) -> str:
        """The origin that the server issued last; "" before the first Welcome."""
        return self._session.origin_id

    @property
    def unsettled(self) -> int:
        """How many events have neither a receipt nor an error."""
        return len(self._session) + self._promised

    @property
    def credit(self) -> int:
        """How many events may be unacked, as the server said last. 0: nothing can be stored now."""
        return self._session.credit

    @property
    def last_break(self) -> str:
        """How the last stream that broke ended, for a person; "" if none did."""
        return self._driver.broke

    @property
    def counts(self) -> PublisherCounts:
        """What happened so far, in events. The same object each time: it goes on counting."""
        counts = self._driver.counts
        counts.retried, counts.resumed = self._session.retried, self._session.resumed
        return counts

    def try_submit(self, event: Event) -> asyncio.Future[Receipt] | None:
        """Takes the event if there is room now, or if another one gives way; returns None otherwise.

        Returns and raises what `submit` does, but for BufferFull.
        """
        self._check_open()
        bytes_count = self._size_of(event)
        if not self._has_room():
            return None
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._take(Pending(_copy(event), current_traceparent(), receipt), bytes_count)
        return receipt

    async def submit(self, event: Event) -> asyncio.Future[Receipt]:
        """Hands the event over as soon as there is room. Returns a future of its receipt.

        The future raises Refused, Shed or Dropped for this event alone, and SessionLost when the session has
        ended for good. `submit` itself raises SessionLost, BufferFull with `when_full="refuse"`, ClientError
        (INVALID_ARGUMENT) for an event that is larger than a message (256 KiB), and RuntimeError once closed.
        """
        while (receipt := self.try_submit(event)) is None:
            if self._when_full == "refuse":
                raise self._full()
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_turns()
                raise
        return receipt

    async def send(self, event: Event) -> Receipt:
        """Sends one event and waits until it is stored. Returns its receipt; raises what `submit` and its
        future raise."""
        return await (await self.submit(event))

    def post(self, event: Event, on_done: OnDone) -> None:
        """Hands the event over without waiting, from any thread. `on_done` is called once with its receipt or
        a ClientError, on the event loop's thread; it must not block.

        Raises BufferFull, SessionLost, ClientError (INVALID_ARGUMENT), and RuntimeError if the publisher is
        not started or is closed. After an exception `on_done` is not called.
        """
        if self._loop is None:
            raise RuntimeError("the publisher is not started; use it in `async with`, or call start()")
        self._check_open()
        bytes_count = self._size_of(event)
        pending = Pending(_copy(event), current_traceparent(), on_done)
        if threading.get_ident() == self._thread:
            if not self._has_room():
                raise self._full()
            self._take(pending, bytes_count)
            return
        with self._lock:
            giving = self._session.buffer.giving if self._when_full == "shed-oldest" else 0
            if self._session.room + giving - self._promised < 1:
                raise self._full()
            self._promised += 1
        self._loop.call_soon_threadsafe(self._take_promised, pending, bytes_count)

    async def connected(self, timeout_s: float) -> None:
        """Waits until the first stream has its Welcome, at most `timeout_s` seconds. Raises ClientError
        (UNAVAILABLE) after that, and SessionLost if the session cannot begin."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._driver.stands.wait()
        except TimeoutError:
            raise ClientError(
                grpc.StatusCode.UNAVAILABLE,
                f"no session after {timeout_s:g} s; {self._driver.broke or 'no answer'}",
            ) from None
        if self._driver.lost is not None:
            raise self._driver.lost

    async def drain(self, timeout_s: float | None = None) -> int:
        """Waits until every event is settled, at most `timeout_s` seconds; None: for as long as it takes.
        Returns how many events are not settled."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.unsettled and self._driver.lost is None:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            pass
        return self.unsettled

    async def aclose(self) -> None:
        """Ends the session now, within some CLOSE_S seconds. Receipts that are still owed raise
        SessionLost."""
        session = self._session
        session.closing = True
        self._driver.work.set()
        if self._task is not None:
            if len(session) or not session.stands:
                self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._driver.fail(
            SessionLost(grpc.StatusCode.CANCELLED, "the publisher was closed before this event was settled")
        )

    def _check_open(self) -> None:
        if self._session.closing:
            raise RuntimeError("the publisher is closed; no further event can be sent")
        if self._driver.lost is not None:
            raise self._driver.lost

    def _size_of(self, event: Event) -> int:
        """As the session counts it. Raises ClientError for an event that fits no message."""
        bytes_count = event.ByteSize() + EVENT_OVERHEAD_BYTES
        try:
            self._session.check_size(bytes_count)
        except ValueError as error:
            raise ClientError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        return bytes_count

    def _has_room(self) -> bool:
        """Whether an event may be taken now; by the policy, another gives way for it."""
        with self._lock:
            if self._session.room - self._promised > 0:
                return True
        return self._when_full == "shed-oldest" and self._drop_one()

    def _drop_one(self) -> bool:
        pending = self._session.give_way()
        if pending is None:
            return False
        self._driver.counts.dropped += 1
        bound = self._session.events_max
        pending.settle(Dropped(f"{bound} events were unsettled, the most this publisher holds"))
        return True

    def _take(self, pending: Pending, bytes_count: int) -> None:
        self._session.submit(pending, bytes_count, pending.rank)
        self._driver.counts.sent += 1
        self._driver.work.set()

    def _take_promised(self, pending: Pending, bytes_count: int) -> None:
        """What another thread has handed over, as long ago as a turn of the loop."""
        with self._lock:
            self._promised -= 1
        try:
            self._check_open()
            if self._session.room < 1 and self._when_full == "shed-oldest":
                self._drop_one()
            self._take(pending, bytes_count)
        except ClientError as error:
            pending.settle(error)
        except (RuntimeError, ValueError) as error:
            pending.settle(ClientError(grpc.StatusCode.CANCELLED, str(error)))

    def _full(self) -> BufferFull:
        session = self._session
        why = f" ({session.reason})" if session.reason else ""
        return BufferFull(
            f"{self.unsettled} events are unsettled, of at most {session.events_max}: a credit of "
            f"{session.credit}{why} and the buffer; wait for receipts"
        )

    def _changed(self) -> None:
        self._settled.set()
        self._give_turns()

    def _give_turns(self) -> None:
        """Lets as many waiting senders go on as there is room for."""
        room = self._session.room - self._promised if self._driver.lost is None else len(self._turns)
        while room > 0 and self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1


def _copy(event: Event) -> Event:
    """The session's own, numbered and owned by its origin."""
    mine = Event()
    mine.CopyFrom(event)
    mine.ClearField("origin_id")
    return mine
