"""NATS: one connection, a publish pipeline over JetStream, and a continuous pull.

Why not nats-py's own `publish_async` and `fetch`: a rejected `publish_async` never resolves
and leaks its slot, and a lost ack has no deadline; `fetch` after a timed-out fetch stalls.
What remains here is small: a reply inbox and a map of futures, and one pull request at a
time with a heartbeat watchdog.

Bounds: the pipeline holds `in_flight_max` publishes and makes callers wait beyond it; the
pull holds at most one request's batch, and asks again only when that is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js import api as js_api
from nats.js.errors import BadRequestError, NotFoundError

from mesh import limits, subjects
from mesh.errors import Exhausted, GrandstandError, Unavailable

log = logging.getLogger(__name__)

_STREAM_FULL = (10077, 10047)  # maximum bytes / messages exceeded, insufficient storage
_PULL_EXPIRES_S = 30.0
_PULL_HEARTBEAT_S = 5.0


class Bus:
    """A NATS connection that comes back by itself, and who wants to know that it did."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=limits.PUBLISH_DEADLINE_S)
        self._reconnected: list[Callable[[], None]] = []

    @classmethod
    async def connect(cls, url: str, name: str) -> Bus:
        """Connects, waiting as long as it takes: the supervisor decides when that is too long."""
        client = Client()
        bus = cls(client)

        async def on_reconnect() -> None:
            log.info("nats is back")
            for callback in bus._reconnected:
                callback()

        async def on_disconnect() -> None:
            log.warning("nats is away")

        async def on_error(error: Exception) -> None:
            log.warning("nats: %s: %s", type(error).__name__, error)

        await client.connect(
            url,
            name=name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # seconds; a float is fine
            ping_interval=5,
            max_outstanding_pings=2,
            connect_timeout=2,
            reconnected_cb=on_reconnect,
            disconnected_cb=on_disconnect,
            error_cb=on_error,
        )
        return bus

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """`callback` runs after each reconnect; it must not block."""
        self._reconnected.append(callback)

    def off_reconnect(self, callback: Callable[[], None]) -> None:
        self._reconnected.remove(callback)

    async def ensure_events_stream(self, replicas: int = 1, bytes_max: int = limits.STREAM_BYTES_MAX) -> None:
        """Creates the event stream unless it exists; waits for JetStream as long as it takes.

        `discard=new`: a full stream refuses new events, and so does ingest; it never forgets
        one that was acked (I4).
        """
        config = js_api.StreamConfig(
            name=subjects.EVENTS_STREAM,
            subjects=[subjects.EVENTS_ALL],
            retention=js_api.RetentionPolicy.LIMITS,
            storage=js_api.StorageType.FILE,
            discard=js_api.DiscardPolicy.NEW,
            max_bytes=bytes_max,
            duplicate_window=limits.DEDUPE_WINDOW_S,
            num_replicas=replicas,
        )
        await self._until_jetstream_answers(lambda: self._add_stream(config))

    async def _add_stream(self, config: js_api.StreamConfig) -> None:
        try:
            await self.js.stream_info(subjects.EVENTS_STREAM)
        except NotFoundError:
            with contextlib.suppress(BadRequestError):  # another service was faster
                await self.js.add_stream(config)

    async def _until_jetstream_answers(self, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await call()
            except (NatsError, TimeoutError) as error:
                log.info("waiting for jetstream: %s", error)
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        with contextlib.suppress(NatsError, TimeoutError):
            await asyncio.wait_for(self.client.drain(), 2)
        if not self.client.is_closed:
            await self.client.close()


class PublishPipeline:
    """Publishes to JetStream with a deadline, many at once, each acked or failed honestly.

    A publish is attempted again, under the same message id, when its ack does not come
    within an attempt or the connection was lost meanwhile; the stream recognises the id and
    stores it once. Publishes may be stored in another order than they were made.
    """

    def __init__(self, bus: Bus, in_flight_max: int = limits.PUBLISH_IN_FLIGHT_MAX) -> None:
        self._bus = bus
        self._slots = asyncio.Semaphore(in_flight_max)
        self._pending: dict[str, asyncio.Future[int | None]] = {}
        self._tokens = itertools.count()
        self._inbox = ""

    async def start(self) -> None:
        self._inbox = self._bus.client.new_inbox()
        await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        self._bus.on_reconnect(self._attempt_all_again)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline_at: float | None = None,
    ) -> int:
        """Stores one message; returns its stream sequence.

        Raises Unavailable when no ack came by `deadline_at` (the loop's time; PUBLISH_DEADLINE_S
        from now without one), Exhausted when the stream is full. The message may have been
        stored all the same. An ack that this process hears too late, because it was stopped or
        stalled, is none: nobody may take for stored in time what was not (I9).
        """
        loop = asyncio.get_running_loop()
        if deadline_at is None:
            deadline_at = loop.time() + limits.PUBLISH_DEADLINE_S
        async with self._slots:
            while (left_s := deadline_at - loop.time()) > 0:
                acked = await self._attempt(
                    subject, payload, message_id, headers, min(left_s, limits.PUBLISH_ATTEMPT_S)
                )
                if acked is not None and loop.time() <= deadline_at:
                    return acked
        raise Unavailable(
            f"the event log did not answer within {limits.PUBLISH_DEADLINE_S:g} s; "
            "send again with the same identity"
        )

    async def _attempt(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None,
        patience_s: float,
    ) -> int | None:
        """One attempt; None when it should be made again."""
        token = str(next(self._tokens))
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._pending[token] = future
        try:
            await self._bus.client.publish(
                subject,
                payload,
                reply=f"{self._inbox}.{token}",
                headers={**(headers or {}), "Nats-Msg-Id": message_id},
            )
            return await asyncio.wait_for(future, patience_s)
        except TimeoutError:
            return None
        except NatsError as error:
            log.warning("publish to %s: %s", subject, error)
            await asyncio.sleep(min(0.05, patience_s))
            return None
        finally:
            del self._pending[token]

    async def _on_ack(self, message: Msg) -> None:
        future = self._pending.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        if not message.data:  # 503: JetStream is not up (yet)
            asyncio.get_running_loop().call_later(0.05, _resolve, future, None)
            return
        answer = json.loads(message.data)
        error = answer.get("error")
        if error is None:
            future.set_result(int(answer["seq"]))
        elif error.get("err_code") in _STREAM_FULL:
            future.set_exception(
                Exhausted(f"the event log is full ({error.get('description')}); the operator must make room")
            )
        elif error.get("code") == 503:
            asyncio.get_running_loop().call_later(0.05, _resolve, future, None)
        else:
            future.set_exception(
                GrandstandError(f"the event log refused a block: {error.get('description')}")
            )

    def _attempt_all_again(self) -> None:
        for future in self._pending.values():
            _resolve(future, None)


def _resolve(future: asyncio.Future[int | None], value: int | None) -> None:
    if not future.done():
        future.set_result(value)


class PullBroken(Exception):
    """The pull cannot go on as it is; make a new one after what was folded."""


@dataclass(frozen=True, slots=True)
class Pulled:
    sequence: int
    data: bytes
    headers: Mapping[str, str] | None


class Pull:
    """A partition's blocks in stream order, from a sequence on.

    The durable consumer is made anew at that sequence, so nothing waits for an ack timeout
    and there is nothing to ack: what was folded is known by the applied sequence alone.
    A gap in the consumer's sequence, a lost heartbeat or a reconnect raises PullBroken.
    """

    def __init__(self, bus: Bus, partition: int) -> None:
        self._bus = bus
        self._partition = partition
        self._queue: list[Pulled] = []
        self._arrived = asyncio.Event()
        self._outstanding = 0
        self._consumer_sequence = 0
        self._broken = ""
        self._heard_at = 0.0
        self._inbox = ""
        self._subscription: Subscription | None = None

    async def open(self, start_sequence: int) -> None:
        """Raises NatsError, TimeoutError while JetStream is away."""
        name = subjects.consumer(self._partition)
        with contextlib.suppress(NotFoundError):
            await self._bus.js.delete_consumer(subjects.EVENTS_STREAM, name)
        await self._bus.js.add_consumer(
            subjects.EVENTS_STREAM,
            js_api.ConsumerConfig(
                durable_name=name,
                filter_subject=subjects.events(self._partition),
                deliver_policy=js_api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=start_sequence,
                ack_policy=js_api.AckPolicy.NONE,
                max_deliver=1,
            ),
        )
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(self._inbox, cb=self._on_message)
        self._bus.on_reconnect(self._on_reconnect)
        await self._request()

    async def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._on_reconnect)
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()

    async def next(self, patience_s: float) -> list[Pulled]:
        """What has arrived, at least one, or nothing after `patience_s`. Raises PullBroken."""
        loop = asyncio.get_running_loop()
        if not self._queue and not self._broken:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), patience_s)
        if self._broken:
            raise PullBroken(self._broken)
        if loop.time() - self._heard_at > 2 * _PULL_HEARTBEAT_S + 1:
            raise PullBroken("no heartbeat")
        taken, self._queue = self._queue, []
        if self._outstanding <= 0:
            await self._request()
        return taken

    async def _request(self) -> None:
        self._outstanding = limits.PULL_BATCH
        self._heard_at = asyncio.get_running_loop().time()
        request = {
            "batch": limits.PULL_BATCH,
            "expires": int(_PULL_EXPIRES_S * 1e9),
            "idle_heartbeat": int(_PULL_HEARTBEAT_S * 1e9),
        }
        consumer = subjects.consumer(self._partition)
        await self._bus.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{subjects.EVENTS_STREAM}.{consumer}",
            json.dumps(request).encode(),
            reply=self._inbox,
        )

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status is not None and not message.reply.startswith("$JS.ACK"):
            self._on_status(status, (message.headers or {}).get("Description", ""))
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
        # with <domain>.<account hash> after $JS.ACK in the longer form: count from the right end.
        tokens = message.reply.split(".")
        at = 5 if len(tokens) < 11 else 7
        sequence, consumer_sequence = int(tokens[at]), int(tokens[at + 1])
        if consumer_sequence != self._consumer_sequence + 1:
            self._break(f"consumer sequence {consumer_sequence} after {self._consumer_sequence}")
            return
        self._consumer_sequence = consumer_sequence
        self._outstanding -= 1
        self._queue.append(Pulled(sequence, message.data, message.headers))
        self._arrived.set()

    def _on_status(self, status: str, description: str) -> None:
        if status == "100":
            return
        if status in ("404", "408"):  # the request ended; `next` asks again
            self._outstanding = 0
            self._arrived.set()
            return
        if status == "409" and "max" in description.lower():
            self._outstanding = 0
            self._arrived.set()
            return
        self._break(f"{status} {description}")

    def _on_reconnect(self) -> None:
        self._break("reconnected")

    def _break(self, why: str) -> None:
        self._broken = why
        self._arrived.set()
