"""One Publish session as a state machine: what may come next, and what may be acked.

States and inputs; anything unlisted ends the stream with INVALID_ARGUMENT, saying what was expected:

    state   input    then
    NEW     Hello    OPEN, answer Welcome
    OPEN    events   OPEN

Acks are cumulative over the stream's own origin: `Ack.origin_seq` is the last number of
the gap-free run of settled events. An event is settled when its block is durable (I1) or
when it was refused. Bound: at most `credit` numbers are unsettled at once (I2), so the set
of those settled out of order is no larger. Relayed events (those that name an origin of
their own) are not numbered by this stream; each gets a receipt.
"""

from __future__ import annotations

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Ack, EventBatch, Hello, PublishRequest, Receipt, Welcome
from mesh import ids, limits
from mesh.errors import Exhausted, Invalid, NotNow, shown


class Session:
    """The pure core of one stream."""

    def __init__(self) -> None:
        self.origin_id = ""
        self.actor_id = ""
        self.producer = False
        self._open = False
        self._credit = 0
        self._next = 1
        self._acked = 0
        self._settled: dict[int, Position | None] = {}
        self._positions: dict[int, int] = {}
        self._receipts: list[Receipt] = []
        self._ack_due = False
        self._relayed = 0

    @property
    def unsettled(self) -> int:
        """Events accepted and not yet settled, relayed ones included."""
        return self._next - 1 - self._acked - len(self._settled) + self._relayed

    @property
    def receipts_owed(self) -> int:
        """Receipts that the next ack will carry."""
        return len(self._receipts)

    def hello(self, hello: Hello, *, now_s: float, entropy: bytes) -> Welcome:
        """Opens the session. Raises Invalid, naming the field."""
        if self._open:
            raise Invalid("message: a second Hello; after Hello, events are expected")
        if len(hello.client) > limits.CLIENT_NAME_CHARACTERS_MAX:
            raise Invalid(
                f"hello.client: {shown(hello.client)} has {len(hello.client)} characters; "
                f"at most {limits.CLIENT_NAME_CHARACTERS_MAX} are allowed"
            )
        if hello.actor_id:
            ids.check_id("hello.actor_id", hello.actor_id)
        elif not hello.producer:
            raise Invalid(
                "hello.actor_id: is empty; only a producer may leave it empty "
                "and name the actor of each event"
            )
        if hello.origin_id:
            origin_id = ids.check_origin("hello.origin_id", hello.origin_id, now_s)
            if (origin_id[0] == "p") != hello.producer:
                raise Invalid(
                    f"hello.producer: {hello.producer} does not fit origin {origin_id}; "
                    "resume as it was issued"
                )
        else:
            origin_id = ids.new_origin(producer=hello.producer, now_s=now_s, entropy=entropy)
            if hello.next_origin_seq > 1:
                raise Invalid(
                    f"hello.next_origin_seq: is {hello.next_origin_seq} without hello.origin_id; "
                    "a new origin starts at 1"
                )
        self.origin_id = origin_id
        self.actor_id = hello.actor_id
        self.producer = hello.producer
        self._credit = ids.origin_credit(origin_id)
        self._next = max(1, hello.next_origin_seq)
        self._acked = self._next - 1
        self._open = True
        return Welcome(
            origin_id=origin_id,
            next_origin_seq=self._next,
            credit=self._credit,
            id_characters_max=limits.ID_CHARACTERS_MAX,
            batch_events_max=limits.BATCH_EVENTS_MAX,
            message_bytes_max=limits.INGEST_MESSAGE_BYTES_MAX,
        )

    def events(self, request: PublishRequest) -> EventBatch:
        """The batch in `request`, its numbers taken.

        Raises Invalid, Exhausted, NotNow; nothing is taken then.
        """
        kind = request.WhichOneof("message")
        if kind != "events":
            raise Invalid(f"message: {'events' if self._open else 'hello'} expected, got {kind or 'nothing'}")
        if not self._open:
            raise Invalid("message: hello expected first, got events")
        batch = request.events
        count = len(batch.events)
        if not 1 <= count <= limits.BATCH_EVENTS_MAX:
            raise Invalid(f"events: a batch of {count}; 1 to {limits.BATCH_EVENTS_MAX} events are allowed")
        expected = self._next
        relayed = 0
        for event in batch.events:
            if event.origin_id:
                relayed += 1
                continue
            if event.origin_seq != expected:
                raise Invalid(f"origin_seq: {event.origin_seq} after {expected - 1}; {expected} expected")
            expected += 1
        if relayed and not self.producer:
            raise Invalid("event.origin_id: only a producer may relay for other origins; leave it empty")
        if expected - 1 - self._acked > self._credit:
            raise Exhausted(
                f"origin_seq: {expected - 1} is {expected - 1 - self._acked} ahead of the last ack "
                f"({self._acked}); "
                f"at most {self._credit} may be unacked, wait for acks"
            )
        if expected - 1 >= 2**63:
            raise NotNow("origin_seq: the origin's numbers are used up; open a new origin")
        self._next = expected
        self._relayed += relayed
        return batch

    def durable(self, origin_id: str, origin_seq: int, position: Position) -> None:
        """The event's block is stored at `position`. An empty `origin_id` is the stream's own."""
        if origin_id:
            self._relayed -= 1
            self._receipts.append(Receipt(origin_id=origin_id, origin_seq=origin_seq, position=position))
            self._ack_due = True
        else:
            self._settle(origin_seq, position)

    def refused(self, origin_id: str, origin_seq: int) -> None:
        """The event is refused for good; the caller has queued the Reject before this."""
        if origin_id:
            self._relayed -= 1
        else:
            self._settle(origin_seq, None)

    def _settle(self, origin_seq: int, position: Position | None) -> None:
        """What is settled before an earlier event waits, with its position, for the ack that covers it."""
        self._settled[origin_seq] = position
        while self._acked + 1 in self._settled:
            self._acked += 1
            self._ack_due = True
            covered = self._settled.pop(self._acked)
            if covered is not None and self._positions.get(covered.partition, 0) < covered.sequence:
                self._positions[covered.partition] = covered.sequence

    def take_ack(self) -> Ack | None:
        """What has been settled since the last ack, or None."""
        if not self._ack_due:
            return None
        ack = Ack(
            origin_seq=self._acked,
            positions=[Position(partition=p, sequence=s) for p, s in sorted(self._positions.items())],
            receipts=self._receipts,
        )
        self._positions.clear()
        self._receipts = []
        self._ack_due = False
        return ack
