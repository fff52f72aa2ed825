"""Pulling a stream's messages: one request at a time, with a heartbeat watchdog.

Each request has its own reply subject below one inbox: a late status of an earlier request cannot end the
current one. Messages arrive under the stream's subject, so only their consumer sequence orders them; it must
be contiguous.

Bound: at most one request's batch is held (PULL_BATCH messages, about PULL_BYTES_MAX), and the next is
requested when that is taken; after a leader change of the consumer, up to one batch more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import NotFoundError

from mesh.jetstream.bus import Bus
from mesh.jetstream.pull_status import Effect, effect_of
from mesh.jetstream.wait import EventWait

PULL_BATCH = 256
FEW = 8
"""Messages for which a pull that gathers does not wake who waits."""
PULL_BYTES_MAX = 8 * 1024 * 1024
"""The largest message that a NATS server of ours takes must fit."""

_PULL_EXPIRES_S = 30.0
_PULL_HEARTBEAT_S = 2.0
_LAST_CONSUMER_SEQUENCE = "Nats-Last-Consumer"
_ACK_PREFIX = "$JS.ACK."
_FORGOTTEN_AFTER_S = 10.0
"""A consumer without a name, by the server, when nobody pulls any more."""


def _request(batch: int, bytes_max: int | None) -> bytes:
    request = {
        "batch": batch,
        "expires": int(_PULL_EXPIRES_S * 1e9),
        "idle_heartbeat": int(_PULL_HEARTBEAT_S * 1e9),
    }
    if bytes_max is not None:
        request["max_bytes"] = bytes_max
    return json.dumps(request).encode()


_BATCH = _request(PULL_BATCH, PULL_BYTES_MAX)
_ONE = _request(1, None)


class PullBroken(Exception):
    """The pull cannot go on as it is; make a new one after what was folded."""


@dataclass(frozen=True, slots=True)
class Pulled:
    subject: str
    sequence: int
    data: bytes
    headers: Mapping[str, str] | None
    stored_at_s: float
    """When the stream stored it, Unix seconds of the server's clock."""


class Pull:
    """Messages in stream order, from a sequence on.

    The consumer is recreated at that sequence, so nothing waits for an ack timeout and there is nothing to
    ack: what was applied is known by whoever pulls. With a name it takes the place of another's pull of
    that name; without one it is only ours, and lies in the memory of one server.

    Whatever may have cost a message raises PullBroken: a gap in the consumer's sequence, a
    heartbeat that names a later sequence than came (another pull on the same consumer took
    what was meant for us), heartbeats that stay away, a reconnect, and the consumer deleted
    or recreated by the partition's next owner. What came before is handed out first.

    A request that ends normally (`mesh.jetstream.pull_status`) is followed by the next. After one that ended
    early and empty, a single message of any size is requested, so that one larger than PULL_BYTES_MAX does
    not stall it; if that ends so too, the pull is broken instead of asking in a loop. The server
    sends no status when the last message uses up max_bytes exactly: then heartbeats stay away.
    """

    def __init__(self, bus: Bus, stream: str, subjects: Sequence[str], durable: str = "") -> None:
        """Of these subjects of the stream; `durable`: the consumer's name."""
        self._bus = bus
        self._stream = stream
        self._subjects = list(subjects)
        self._durable = durable
        self._next = ""
        self._queue: list[Pulled] = []
        self._loop = asyncio.get_running_loop()
        self._wait = EventWait(self._loop)
        self._gathers_until = 0.0
        self.first_at_s = 0.0
        """The loop's time when the first arrived of what was handed out last, or is to be."""
        self._outstanding = 0
        self._untouched = True
        self._fruitless = 0
        self._consumer_sequence = 0
        self._broken = ""
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._inbox = ""
        self._reply = ""
        self._requests = 0
        self._subscription: Subscription | None = None
        self.pending = 0
        """How many more the stream held when it sent its last one."""

    @property
    def queued(self) -> int:
        """How many have come and were not taken."""
        return len(self._queue)

    @property
    def oldest_queued_at_s(self) -> float | None:
        return self._queue[0].stored_at_s if self._queue else None

    async def open(self, start_sequence: int) -> None:
        """Raises NatsError, TimeoutError while JetStream is away."""
        config = js_api.ConsumerConfig(
            deliver_policy=js_api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start_sequence,
            ack_policy=js_api.AckPolicy.NONE,
            max_deliver=1,
        )
        if len(self._subjects) == 1:  # a server may check the rights to it
            config.filter_subject = self._subjects[0]
        else:
            config.filter_subjects = self._subjects
        if self._durable:
            config.durable_name = self._durable
            with contextlib.suppress(NotFoundError):
                await self._bus.js.delete_consumer(self._stream, self._durable)
        else:
            config.inactive_threshold = _FORGOTTEN_AFTER_S
            config.mem_storage, config.num_replicas = True, 1
        info = await self._bus.js.add_consumer(self._stream, config)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{info.name}"
        self.pending = info.num_pending or 0
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.hear(f"{self._inbox}.*", self._on_message)
        self._bus.on_reconnect(self._on_reconnect)
        await self._ask()

    async def close(self) -> None:
        self._wait.close()
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._on_reconnect)
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()

    async def next(self, patience_s: float, gathers_until: float = 0.0) -> list[Pulled]:
        """What has arrived, or nothing after `patience_s`, `interrupt` or a request's end.

        `gathers_until`: the loop's time before which a few are not handed out. Raises PullBroken, once all
        that came before the break has been handed out.
        """
        self._gathers_until = gathers_until
        now_s = self._loop.time()
        if not (self._broken or len(self._queue) > FEW or (self._queue and now_s >= gathers_until)):
            self._wait.clear()
            await self._ask_again()
            until_s = now_s + patience_s
            await self._wait.until_woken(min(until_s, gathers_until) if self._queue else until_s)
            silent_s = self._loop.time() - self._heard_at
            if not self._queue and silent_s > 3 * _PULL_HEARTBEAT_S:
                self._break("no heartbeat")
        if self._broken and not self._queue:
            raise PullBroken(self._broken)
        await self._ask_again()
        taken, self._queue = self._queue, []
        return taken

    def interrupt(self) -> None:
        """Ends a `next` that waits."""
        self._wait.wake()

    async def _ask_again(self) -> None:
        """The next request, if the last one has ended."""
        if self._outstanding > 0 or self._broken:
            return
        try:
            await self._ask()
        except NatsError as error:
            self._break(f"cannot ask for more: {error}")

    async def _ask(self) -> None:
        self._outstanding = 1 if self._fruitless else PULL_BATCH
        self._untouched = True
        self._requests += 1
        self._reply = f"{self._inbox}.{self._requests}"
        self._asked_at = self._heard_at = self._loop.time()
        request = _ONE if self._fruitless else _BATCH
        await self._bus.client.publish(self._next, request, reply=self._reply)

    def _on_message(self, message: Msg) -> None:
        self._heard_at = self._loop.time()
        if message.reply.startswith(_ACK_PREFIX):
            self._on_block(message)
        elif message.subject == self._reply:
            self._on_status(message.headers or {})

    def _on_block(self, message: Msg) -> None:
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
        # with <domain>.<account hash> after $JS.ACK in the longer form, and a token more at its end.
        tokens = message.reply.split(".")
        at = 5 if len(tokens) < 11 else 7
        sequence, consumer_sequence, stored_at_ns = (int(token) for token in tokens[at : at + 3])
        if consumer_sequence != self._consumer_sequence + 1:
            self._break(f"consumer sequence {consumer_sequence} after {self._consumer_sequence}")
        if self._broken:
            return
        self._consumer_sequence = consumer_sequence
        self.pending = int(tokens[at + 3])
        self._outstanding -= 1
        self._untouched = False
        self._fruitless = 0
        if not self._queue:
            self.first_at_s = self._heard_at
        self._queue.append(
            Pulled(message.subject, sequence, message.data, message.headers, stored_at_ns / 1e9)
        )
        if len(self._queue) > FEW:
            self._wait.wake()
        else:
            self._wait.wake_at(self._gathers_until)

    def _on_status(self, headers: Mapping[str, str]) -> None:
        """Of the request that stands."""
        status, description = headers.get("Status", ""), headers.get("Description", "")
        # nats-py leaves the next header in the description of a bare 503.
        said = " ".join(f"{status} {description}".split()) or "an answer without a status"
        match effect_of(status, description):
            case Effect.NONE:
                last = headers.get(_LAST_CONSUMER_SEQUENCE, "")
                if last.isdigit() and int(last) != self._consumer_sequence:
                    self._break(f"the consumer is at {last}, we are at {self._consumer_sequence}")
            case Effect.ENDS:
                self._outstanding = 0
                if self._untouched and self._heard_at - self._asked_at < _PULL_EXPIRES_S / 2:
                    self._fruitless += 1
                if self._fruitless > 1:
                    self._break(f"two requests in a row brought nothing: {said}")
                self._wait.wake()
            case Effect.BREAKS:
                self._break(said)

    def _on_reconnect(self) -> None:
        self._break("reconnected")

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
        self._wait.wake()
