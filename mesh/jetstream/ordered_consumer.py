"""Every message of some subjects of a stream, in the stream's order and with none left out, until it breaks.

An ephemeral push consumer without acks. The server numbers what it sends to a consumer; a number that does
not follow the last one is a gap (a full queue in the NATS client, a message that a dying connection took),
and then nothing more is delivered: `on_broken` is called once, and the caller opens another. A message that
follows proves that nothing before it is missing; silence proves nothing, so who must know whether the
consumer still lives publishes something that it has to bring (mesh.catalog.freshness).

A message that was replaced by a newer one of its subject before it was sent is not sent and has no number.

Bound: the NATS client's queue of a subscription. What overflows it is dropped, and found by its number.

Rejected: nats-py's own ordered consumer, which KeyValue.watch stands on. It checks numbers before its
queue, so a message that the queue drops is not missed; a callback that raises (its set-up took longer than a
timeout) loses the message unnoticed; one that could not be recreated after a reset is dead until two
heartbeats are missed, 10 s.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api as js_api

from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

_FORGOTTEN_AFTER_S = 5.0
"""The server forgets a consumer that nobody listens to. So nobody needs the right to delete one: who has it
may delete those of others, too."""


@dataclass(frozen=True, slots=True)
class Delivered:
    subject: str
    sequence: int
    """In the stream."""
    stored_s: float
    """When the server stored it, Unix seconds of its clock."""
    data: bytes


class OrderedConsumer:
    """`on_message` and `on_broken` are called on the event loop and must not raise; `on_broken` once at
    most."""

    def __init__(
        self, bus: Bus, on_message: Callable[[Delivered], None], on_broken: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._on_message = on_message
        self._on_broken = on_broken
        self._number = 0
        self._stored = 0
        """The number of the last of what was stored before it opened."""
        self._is_broken = False
        self._subscription: Subscription | None = None
        self.heard_s = time.monotonic()
        """When the server last sent something, be it a heartbeat."""

    async def open(
        self,
        stream: str,
        subjects: Sequence[str],
        *,
        new_only: bool = False,
        heartbeat_s: float | None = None,
    ) -> int:
        """Begins with the last message of each subject, or with what is stored from now on. `heartbeat_s`:
        how often the server says that it has nothing to send. Returns how many messages there were to begin
        with. Raises NatsError, TimeoutError."""
        inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(inbox, cb=self._take)
        info = await self._bus.js.add_consumer(
            stream,
            js_api.ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=js_api.DeliverPolicy.NEW
                if new_only
                else js_api.DeliverPolicy.LAST_PER_SUBJECT,
                idle_heartbeat=heartbeat_s,
                ack_policy=js_api.AckPolicy.NONE,
                filter_subjects=list(subjects),
                max_deliver=1,
                mem_storage=True,
                num_replicas=1,
                inactive_threshold=_FORGOTTEN_AFTER_S,
            ),
        )
        delivered = 0 if info.delivered is None else info.delivered.consumer_seq
        stored = delivered + (info.num_pending or 0)
        if self._number < stored and not self._is_broken:
            self._stored = stored
            self._bus.loads.add(self)
        return stored

    async def close(self) -> None:
        self._break()
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()

    async def _take(self, message: Msg) -> None:
        self.heard_s = time.monotonic()
        if self._is_broken or not message.reply.startswith("$JS.ACK."):
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>,
        # with <domain>.<account hash> after $JS.ACK in the longer form, and a token more at its end.
        tokens = message.reply.split(".")
        at = 5 if len(tokens) < 11 else 7
        sequence, number, stored_ns = (int(token) for token in tokens[at : at + 3])
        if number != self._number + 1:
            self._break()
            self._on_broken(f"message {number} came after {self._number}")
            return
        self._number = number
        if number == self._stored:
            self._bus.loads.discard(self)
        self._on_message(Delivered(message.subject, sequence, stored_ns / 1e9, message.data))

    def _break(self) -> None:
        self._is_broken = True
        self._bus.loads.discard(self)
