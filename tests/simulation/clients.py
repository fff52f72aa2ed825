"""Clients: native ones with a stream of their own, and browsers that send through relays.

A native client is grandstand.client.outbox with a model of the publisher's shell. A browser numbers its
events itself and sends each, to any relay, until it is answered; a relay (a gateway) has one
stream for all, sends all that is unanswered again when it breaks, and forgets all when it dies.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from grandstand.client.outbox import Outbox
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import (
    Ack,
    EventBatch,
    Hello,
    PublishRequest,
    PublishResponse,
    Reject,
)
from grandstand.wire import ids
from tests.simulation.ingests import ModelIngest
from tests.simulation.link import Link
from tests.simulation.process import Process
from tests.simulation.world import World

_BATCH_EVENTS_MAX = 8
_AGAIN_S = 2.0
_UNANSWERED_MAX = 4


class Fate(enum.Enum):
    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused for certain"
    UNCERTAIN = "refused, but a copy may be stored"


@dataclass(slots=True)
class Sent:
    """One event, and what its client was told of it."""

    event: Event
    origin_id: str = ""
    origin_seq: int = 0
    fate: Fate = Fate.SENT
    code: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    """What the ack said, by partition."""
    losses: int = 0
    """How often the stream had lost something by then."""


class Native(Process):
    """`next_event` makes an event when it is called; it acts `events` times."""

    credit_at_first = 64

    def __init__(
        self,
        world: World,
        name: str,
        actor_id: str,
        ingests: Sequence[ModelIngest],
        events: int,
        pause_s: float,
        next_event: Callable[[], Event],
    ) -> None:
        super().__init__(world, name)
        self.sent: list[Sent] = []
        self._actor_id = actor_id
        self._ingests = ingests
        self._left = events
        self._pause_s = pause_s
        self._next_event = next_event
        self._outbox: Outbox[Sent] = Outbox(self.credit_at_first)
        self._origin_id = ""
        self._link: Link | None = None
        self._is_welcome = False
        self._positions: dict[int, int] = {}
        self.then(self._act, pause_s)
        self.then(self._connect)

    @property
    def is_done(self) -> bool:
        return not self._left and not len(self._outbox)

    def hurry(self) -> None:
        """One event more, and soon."""
        self._left += 1
        self.then(self._one, 0.05)

    def _act(self) -> None:
        if self._left:
            self._one()
            self.then(self._act, self._pause_s)

    def _one(self) -> None:
        if not self._left:
            return
        if not self._outbox.room:
            self.then(self._one, self._pause_s)
        else:
            self._left -= 1
            sent = Sent(self._next_event())
            self._outbox.append(sent)
            self.sent.append(sent)
            self._write()

    def _connect(self) -> None:
        up = [ingest for ingest in self._ingests if ingest.is_up]
        if not up:
            self.then(self._connect, 0.2)
            return
        ingest = self.world.random.choice(up)
        self._link = Link(self.world, self, self, ingest, ingest)
        self._is_welcome = False
        self._link.send(
            PublishRequest(
                hello=Hello(
                    actor_id=self._actor_id,
                    producer=not self._actor_id,
                    origin_id=self._origin_id,
                    next_origin_seq=self._outbox.resume(),
                )
            )
        )

    def _write(self) -> None:
        while self._link is not None and self._is_welcome:
            batch = self._outbox.take(self.world.random.randint(1, _BATCH_EVENTS_MAX), 1 << 20)
            if not batch:
                return
            for seq, sent in batch:
                if sent is not None:
                    sent.event.origin_seq = sent.origin_seq = seq
            events = [Event(origin_seq=seq) if sent is None else sent.event for seq, sent in batch]
            self._link.send(PublishRequest(events=EventBatch(events=events)))

    # A link's client.

    def ended(self, link: Link) -> None:
        if link is self._link:
            self._link = None
            self.then(self._connect, 0.1)

    def take(self, link: Link, response: PublishResponse) -> None:
        if link is not self._link:
            return
        match response.WhichOneof("message"):
            case "welcome":
                if response.welcome.replaced:
                    for sent in self._outbox.replace():
                        sent.fate, sent.origin_id = Fate.UNCERTAIN, self._origin_id
                self._origin_id = response.welcome.origin_id
                self._outbox.credit = response.welcome.credit
                self._is_welcome = True
                self._write()
            case "ack":
                self._acked(response.ack)
            case "reject":
                self._refused(link, response.reject)

    def _acked(self, ack: Ack) -> None:
        for position in ack.positions:
            self._positions[position.partition] = max(
                position.sequence, self._positions.get(position.partition, 0)
            )
        for _, sent, _ in self._outbox.ack(ack.origin_seq):
            sent.fate, sent.origin_id = Fate.ACKED, self._origin_id
            sent.positions, sent.losses = dict(self._positions), self.world.losses
        self._write()

    def _refused(self, link: Link, reject: Reject) -> None:
        if reject.retryable:
            link.cut()
            return
        refused = self._outbox.refuse(reject.origin_seq)
        if refused is not None:
            sent, maybe_stored = refused
            sent.fate = Fate.UNCERTAIN if maybe_stored or reject.maybe_stored else Fate.REFUSED
            sent.origin_id, sent.code = self._origin_id, reject.code


class Relay(Process):
    """A gateway's stream to ingest."""

    def __init__(self, world: World, name: str, ingests: Sequence[ModelIngest]) -> None:
        super().__init__(world, name)
        self._ingests = ingests
        self.born()

    def born(self) -> None:
        self._pending: dict[tuple[str, int], tuple[Event, Callable[[Position | Reject], None]]] = {}
        self._link: Link | None = None
        self.then(self._connect)

    def died(self) -> None:
        if self._link is not None:
            self._link.cut()

    def relay(self, event: Event, answer: Callable[[Position | Reject], None]) -> None:
        if not self.is_up:
            return
        identity = (event.origin_id, event.origin_seq)
        is_new = identity not in self._pending
        self._pending[identity] = (event, answer)
        if is_new and self._link is not None:
            self._link.send(PublishRequest(events=EventBatch(events=[event])))

    def _connect(self) -> None:
        up = [ingest for ingest in self._ingests if ingest.is_up]
        if not up:
            self.then(self._connect, 0.2)
            return
        ingest = self.world.random.choice(up)
        self._link = Link(self.world, self, self, ingest, ingest)
        self._link.send(PublishRequest(hello=Hello(producer=True)))
        if self._pending:
            events = [event for event, _ in self._pending.values()]
            self._link.send(PublishRequest(events=EventBatch(events=events)))

    def ended(self, link: Link) -> None:
        if link is self._link:
            self._link = None
            self.then(self._connect, 0.1)

    def take(self, link: Link, response: PublishResponse) -> None:
        if response.HasField("ack"):
            for receipt in response.ack.receipts:
                self._answer((receipt.origin_id, receipt.origin_seq), receipt.position)
        elif response.HasField("reject"):
            reject = response.reject
            if reject.retryable:
                self._pending.pop((reject.origin_id, reject.origin_seq), None)
            else:
                self._answer((reject.origin_id, reject.origin_seq), reject)

    def _answer(self, identity: tuple[str, int], answer: Position | Reject) -> None:
        pending = self._pending.pop(identity, None)
        if pending is not None:
            self.then(lambda: pending[1](answer))


class Browser(Process):
    """Sends through any relay, and again when no answer comes."""

    def __init__(
        self,
        world: World,
        name: str,
        relays: Sequence[Relay],
        events: int,
        pause_s: float,
        next_event: Callable[[], Event],
    ) -> None:
        super().__init__(world, name)
        self.sent: list[Sent] = []
        self._relays = relays
        self._left = events
        self._pause_s = pause_s
        self._next_event = next_event
        self._origin_id = ids.new_origin(
            producer=False, now_s=world.now_s, entropy=world.random.randbytes(12)
        )
        self._unanswered = 0
        self.then(self._act, pause_s)

    @property
    def is_done(self) -> bool:
        return not self._left and not self._unanswered

    def hurry(self) -> None:
        """One event more, and soon."""
        self._left += 1
        self.then(self._one, 0.05)

    def _act(self) -> None:
        if self._left:
            self._one()
            self.then(self._act, self._pause_s)

    def _one(self) -> None:
        if not self._left:
            return
        if self._unanswered >= _UNANSWERED_MAX:
            self.then(self._one, self._pause_s)
        else:
            self._left -= 1
            self._unanswered += 1
            sent = Sent(self._next_event(), self._origin_id, len(self.sent) + 1)
            sent.event.origin_id, sent.event.origin_seq = sent.origin_id, sent.origin_seq
            self.sent.append(sent)
            self._attempt(sent)

    def _attempt(self, sent: Sent) -> None:
        if sent.fate is not Fate.SENT:
            return
        relay = self.world.random.choice(self._relays)

        def answer(answered: Position | Reject) -> None:
            if not self.world.odds(0.05):
                self.then(lambda: self._answered(sent, answered))

        if not self.world.odds(0.05):
            relay.then(lambda: relay.relay(sent.event, answer))
        self.then(lambda: self._attempt(sent), 0.5, _AGAIN_S)

    def _answered(self, sent: Sent, answered: Position | Reject) -> None:
        if sent.fate is not Fate.SENT:
            return
        self._unanswered -= 1
        if isinstance(answered, Position):
            sent.fate, sent.positions = Fate.ACKED, {answered.partition: answered.sequence}
            sent.losses = self.world.losses
        else:
            # The relay may have sent it more than once.
            sent.fate, sent.code = Fate.UNCERTAIN, answered.code
