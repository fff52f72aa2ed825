"""Publishing to JetStream: many at once, each with a deadline, each acked or failed honestly.

The shell of `mesh.jetstream.in_flight`: one task that sends, one inbox that hears the acks, one timer for all
attempts and deadlines. A publish costs no task and no timer of its own.

Guarantees: what is told stored has its PubAck (I1), heard by its deadline (I9). Everything else is told
failed and may have been stored all the same; who submits it again under the same message id within
DEDUPE_WINDOW_S has it stored once. Publishes may be stored in another order than they were made.

While NATS is away nothing is handed to the NATS client, so nothing piles up in its buffer to come out
after its deadline; what the client had not yet written when the connection broke, it writes to the
next one, and the server recognises it by its message id. A connection that takes nothing (a stopped
server) is given what fits its buffers and no second copies.

Bounds: those of `mesh.jetstream.in_flight`. Overflow: `submit` answers False, `publish` raises Exhausted.

Rejected: nats-py's `publish_async` (a refused publish never resolves, a lost ack has no deadline); a
connection of our own that speaks the protocol, 6 µs a publish cheaper, at the price of everything
that nats-py knows of TLS, credentials and clusters.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from grandstand.wire import tasks
from grandstand.wire.errors import Exhausted, GrandstandError, Unavailable
from mesh import disk, limits
from mesh.jetstream import acks, subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.in_flight import InFlight, OnDone, Publish

log = logging.getLogger(__name__)

_PROBE = "probe"
_UNSENT_BYTES_MAX = 1024 * 1024
"""Nothing is sent again while the client has more than this to write; at 2 MiB its `publish` waits."""


class PublishPipeline:
    """Publishes to JetStream. All of it belongs to one event loop; `start` it there."""

    def __init__(
        self, bus: Bus, in_flight_max: int = limits.PUBLISH_IN_FLIGHT_MAX, store: Path | None = None
    ) -> None:
        """`store`: the directory of the event log, if it is on this machine."""
        self._bus = bus
        self._store = store
        self._trouble = ""
        self._core = InFlight(count_max=in_flight_max)
        self._numbers = itertools.count()
        self._inbox = ""
        self._is_closed = False
        self._was_away = True
        self._is_sending = False
        self._on_change: list[Callable[[bool], None]] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The event stream must exist."""
        self._loop = asyncio.get_running_loop()
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        self._bus.on_reconnect(self._connected)
        self._bus.on_disconnect(self._disconnected)
        if self._bus.client.is_connected:
            # The bus has just found the event stream, so it is here until we learn otherwise.
            self._core.connected(self._loop.time())
            self._core.answered(self._loop.time())
        self._was_away = self._core.away
        self._sender = self._loop.create_task(self._send())

    async def close(self) -> None:
        """Fails what is not settled; nothing may be submitted after this."""
        if self._is_closed:
            return
        self._is_closed = True
        self._bus.off_reconnect(self._connected)
        self._bus.off_disconnect(self._disconnected)
        if self._timer is not None:
            self._timer.cancel()
        if self._sender is not None:
            await tasks.end(self._sender)
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()
        for publish in self._core.close():
            self._done(
                publish, None, Unavailable("this process goes away; send again with the same identity")
            )

    def submit(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None,
        deadline_at: float,
        on_done: OnDone,
    ) -> bool:
        """Takes one message to be stored by `deadline_at` (the loop's time); False: too much waits already.

        `on_done(sequence, None)` or `on_done(None, error)` is called once, on the loop and never from
        within `submit`. Errors: Unavailable when no ack was heard by the deadline, also one that this
        process heard too late because it was stopped or stalled; Exhausted when the stream is full;
        GrandstandError for what it refuses for good. The message may have been stored all the same.
        """
        if self._is_closed:
            return False
        publish = Publish(next(self._numbers), subject, payload, message_id, headers, deadline_at, on_done)
        now_s = self._loop.time()
        if not self._core.submit(publish, now_s):
            return False
        if self._core.is_ready(now_s):
            self._wake.set()
        if self._timer is None or deadline_at < self._timer.when():
            self._arm()
        return True

    async def publish(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline_at: float | None = None,
    ) -> int:
        """Stores one message; returns its stream sequence. Raises as `submit` tells `on_done`, and
        Exhausted when too much waits already. Without a deadline it is PUBLISH_DEADLINE_S from now.

        Who is cancelled while waiting here learns nothing more; the message may be stored.
        """
        if deadline_at is None:
            deadline_at = self._loop.time() + limits.PUBLISH_DEADLINE_S
        future: asyncio.Future[int] = self._loop.create_future()

        def on_done(sequence: int | None, error: GrandstandError | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            elif sequence is not None:
                future.set_result(sequence)

        if not self.submit(subject, payload, message_id, headers, deadline_at, on_done):
            raise Exhausted(
                f"{self._core.waiting} publishes of {self._core.waiting_bytes} bytes wait for the event log "
                "already; wait until fewer do"
            )
        return await future

    @property
    def away(self) -> bool:
        """NATS is not connected, or acked nothing for PUBLISH_ATTEMPT_S although something is in flight.
        Until it acks, or with nothing in flight answers that it is there."""
        return self._core.away

    @property
    def trouble(self) -> str:
        """What keeps the event log from storing, such as "disk full"; "" if nothing is known of it."""
        return self._trouble or disk.problem_word(self._store)

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """`callback(away)` runs whenever that flips; it must not block."""
        self._on_change.append(callback)

    @property
    def in_flight(self) -> int:
        """Publishes sent and not settled."""
        return self._core.in_flight

    @property
    def in_flight_bytes(self) -> int:
        """Payload bytes sent and not settled."""
        return self._core.in_flight_bytes

    @property
    def waiting(self) -> int:
        """Publishes that were not sent yet."""
        return self._core.waiting

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes that were not sent yet."""
        return self._core.waiting_bytes

    @property
    def ack_latency_s(self) -> float:
        """From sending to the ack, smoothed over some eight publishes; outages are told by `away` and
        `oldest_age_s` instead."""
        return self._core.ack_latency_s

    def oldest_age_s(self, now: float) -> float:
        """How long ago (`now`: the loop's time) the oldest unsettled publish was submitted; 0 without one."""
        return self._core.oldest_age_s(now)

    async def _send(self) -> None:
        client, core = self._bus.client, self._core
        this = asyncio.current_task()
        assert this is not None
        while not this.cancelling():  # which nats-py swallows, where it waits to write
            await self._wake.wait()
            self._wake.clear()
            now_s = self._loop.time()
            self._expire(now_s)
            if not client.is_connected:  # and tells us in a moment
                continue
            if client.pending_data_size > _UNSENT_BYTES_MAX:
                core.put_off(now_s)
            self._is_sending = True
            if core.take_probe(now_s):
                await self._probe()
            sends = core.take(now_s)
            self._arm()  # the client may take its time with what follows
            for publish in sends:
                if publish.is_settled:  # while the connection took those before it
                    continue
                if this.cancelling():
                    return
                try:
                    await client.publish(
                        publish.subject,
                        publish.payload,
                        reply=f"{self._inbox}.{publish.number}",
                        headers={**(publish.headers or {}), "Nats-Msg-Id": publish.message_id},
                    )
                except MaxPayloadError:
                    bound = f"{len(publish.payload)} bytes, the NATS server takes {client.max_payload}"
                    self._refused(publish.number, GrandstandError(f"a block is too large: {bound}"))
                except Exception as error:
                    log.warning("publish to %s: %s: %s", publish.subject, type(error).__name__, error)
                    core.again(publish.number, self._loop.time())
            self._is_sending = False
            self._after(self._loop.time())

    async def _probe(self) -> None:
        with contextlib.suppress(NatsError):
            await self._bus.client.publish(
                f"$JS.API.STREAM.INFO.{subjects.EVENTS_STREAM}", reply=f"{self._inbox}.{_PROBE}"
            )

    async def _on_reply(self, message: Msg) -> None:
        now_s = self._loop.time()
        token = message.subject[len(self._inbox) + 1 :]
        if token == _PROBE:
            with contextlib.suppress(ValueError):  # no responders answer with nothing
                if "error" not in json.loads(message.data):
                    self._core.answered(now_s)
        else:
            answer = acks.read(message.data)
            if answer is None:
                self._trouble = disk.problem_in(message.data.decode("utf-8", "replace"))
                self._core.again(int(token), now_s)
            elif isinstance(answer, int):
                self._trouble = ""
                if (publish := self._core.stored(int(token), now_s)) is not None:
                    self._done(publish, answer, None)
            else:
                self._refused(int(token), answer)
        self._after(now_s)

    def _refused(self, number: int, error: GrandstandError) -> None:
        if (publish := self._core.refused(number, self._loop.time())) is not None:
            self._done(publish, None, error)

    def _expire(self, now_s: float) -> None:
        expired = self._core.expire(now_s)
        why = f": {trouble}" if expired and (trouble := self.trouble) else ""
        for publish in expired:
            self._done(
                publish,
                None,
                Unavailable(
                    f"the event log did not answer within {limits.PUBLISH_DEADLINE_S:g} s{why}; "
                    "send again with the same identity"
                ),
            )

    def _done(self, publish: Publish, sequence: int | None, error: GrandstandError | None) -> None:
        try:
            publish.on_done(sequence, error)
        except Exception:
            log.exception("what came of %s is lost to a fault", publish.message_id)

    def _connected(self) -> None:
        self._core.connected(self._loop.time())
        self._after(self._loop.time())

    def _disconnected(self) -> None:
        self._core.disconnected()
        self._after(self._loop.time())

    def _on_timer(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        self._expire(now_s)
        if self._is_sending or not self._bus.client.is_connected:  # it waits for the connection
            self._core.put_off(now_s)
        self._wake.set()
        self._after(now_s)

    def _after(self, now_s: float) -> None:
        """After every change of the core's state."""
        if self._core.away is not self._was_away:
            self._was_away = self._core.away
            log.warning("the event log is away" if self._was_away else "the event log is back")
            for callback in self._on_change:
                callback(self._was_away)
        if self._core.is_ready(now_s):
            self._wake.set()
        self._arm()

    def _arm(self) -> None:
        """One timer; it may come too early, and then finds out when next."""
        due_at = self._core.due_at()
        if self._timer is not None:
            if self._timer.when() <= due_at:
                return
            self._timer.cancel()
            self._timer = None
        if due_at < float("inf") and not self._is_closed:
            self._timer = self._loop.call_at(due_at, self._on_timer)
