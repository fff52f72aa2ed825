"""Pulling a partition's blocks: one request at a time, with a heartbeat watchdog.

Bound: at most one request's batch is held (PULL_BATCH messages, about PULL_BYTES_MAX), and
the next is asked for only when that is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import NotFoundError

from mesh import limits, subjects
from mesh.bus import Bus

log = logging.getLogger(__name__)

_PULL_EXPIRES_S = 30.0
_PULL_HEARTBEAT_S = 2.0
_ENDED = ("404", "408")
_LAST_CONSUMER_SEQUENCE = "Nats-Last-Consumer"


class PullBroken(Exception):
    """The pull cannot go on as it is; make a new one after what was folded."""


@dataclass(frozen=True, slots=True)
class Pulled:
    sequence: int
    data: bytes
    headers: Mapping[str, str] | None
    stored_at_s: float
    """When the stream stored it, Unix seconds of the server's clock."""


class Pull:
    """A partition's blocks in stream order, from a sequence on.

    The durable consumer is made anew at that sequence, so nothing waits for an ack timeout
    and there is nothing to ack: what was folded is known by the applied sequence alone.

    Whatever may have cost a block raises PullBroken: a gap in the consumer's sequence, a
    heartbeat that names a later sequence than came (another pull on the same consumer took
    what was meant for us), heartbeats that stay away, a reconnect, and the consumer deleted
    or made anew by the partition's next owner.
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
        name = subjects.consumer(self._partition)
        with contextlib.suppress(NotFoundError):
            await self._bus.js.delete_consumer(subjects.EVENTS_STREAM, name)
        info = await self._bus.js.add_consumer(
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
        self.pending = info.num_pending or 0
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
        """What has arrived, at least one, or nothing after `patience_s` or `interrupt`. Raises PullBroken."""
        loop = asyncio.get_running_loop()
        if not self._queue and not self._broken:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        if self._broken:
            raise PullBroken(self._broken)
        if loop.time() - self._heard_at > 3 * _PULL_HEARTBEAT_S:
            raise PullBroken("no heartbeat")
        taken, self._queue = self._queue, []
        if self._outstanding <= 0:
            await self._request()
        return taken

    def interrupt(self) -> None:
        """Ends a `next` that waits."""
        self._arrived.set()

    async def _request(self) -> None:
        self._outstanding = limits.PULL_BATCH
        self._heard_at = asyncio.get_running_loop().time()
        request = {
            "batch": limits.PULL_BATCH,
            "max_bytes": limits.PULL_BYTES_MAX,
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
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None and not message.reply.startswith("$JS.ACK"):
            self._on_status(status, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
        # with <domain>.<account hash> after $JS.ACK in the longer form, and a token more at its end.
        tokens = message.reply.split(".")
        at = 5 if len(tokens) < 11 else 7
        sequence, consumer_sequence, stored_at_ns = (int(token) for token in tokens[at : at + 3])
        if consumer_sequence != self._consumer_sequence + 1:
            self._break(f"consumer sequence {consumer_sequence} after {self._consumer_sequence}")
            return
        self._consumer_sequence = consumer_sequence
        self.pending = int(tokens[at + 3])
        self._outstanding -= 1
        self._queue.append(Pulled(sequence, message.data, message.headers, stored_at_ns / 1e9))
        self._arrived.set()

    def _on_status(self, status: str, headers: Mapping[str, str]) -> None:
        description = headers.get("Description", "")
        if status == "100":
            last = headers.get(_LAST_CONSUMER_SEQUENCE, "")
            if last.isdigit() and int(last) != self._consumer_sequence:
                self._break(f"the consumer is at {last}, we are at {self._consumer_sequence}")
        elif status in _ENDED or (status == "409" and "max" in description.lower()):
            self._outstanding = 0  # the request ended; `next` asks again
            self._arrived.set()
        else:
            self._break(f"{status} {description}".strip())

    def _on_reconnect(self) -> None:
        self._break("reconnected")

    def _break(self, why: str) -> None:
        self._broken = why
        self._arrived.set()
