"""One Publish session as a state machine: what may come next, and what may be acked.

States and inputs; anything unlisted ends the stream with INVALID_ARGUMENT, saying what was expected:

    state      input       then
    NEW        hello       OPEN, answer Welcome
    OPEN       events      OPEN
    OPEN       heartbeat   OPEN
    OPEN       drain       DRAINING (ours: the process goes away)
    OPEN       half-close  CLOSING
    DRAINING   events      DRAINING
    DRAINING   heartbeat   DRAINING
    DRAINING   half-close  CLOSING
    NEW        half-close  CLOSING

Acks are cumulative over the stream's own origin: `Ack.origin_seq` is the last number of
the gap-free run of settled events. An event is settled when its block is durable (I1), when
it was shed, or when it was refused. What is settled before an earlier event waits, with its
position, for the ack that covers it.

Bounds: at most `credit_max` numbers are unsettled at once (I2), so the runs settled out of order
are no more. Relayed events (those that name an origin of their own) are not numbered by this
stream; each gets a receipt, and the shell reads no further while too many are owed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import Enum

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, Welcome
from grandstand.wire import actors, ids
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Exhausted, Forbidden, Invalid, NotNow, OriginRefused, shown
from ingest import acks
from mesh.auth.identity import Identity
from mesh.auth.origins import Origins

SEQ_MAX = 2**63 - 1
NO_ORIGINS = Origins(lambda: ())
"""Before Hello."""


class SessionState(Enum):
    NEW = "new"
    OPEN = "open"
    DRAINING = "draining"
    CLOSING = "closing"


class Input(Enum):
    HELLO = "hello"
    EVENTS = "events"
    HEARTBEAT = "heartbeat"
    HALF_CLOSE = "half-close"
    DRAIN = "drain"


TABLE: Mapping[tuple[SessionState, Input], SessionState] = {
    (SessionState.NEW, Input.HELLO): SessionState.OPEN,
    (SessionState.NEW, Input.HALF_CLOSE): SessionState.CLOSING,
    (SessionState.OPEN, Input.EVENTS): SessionState.OPEN,
    (SessionState.OPEN, Input.HEARTBEAT): SessionState.OPEN,
    (SessionState.OPEN, Input.HALF_CLOSE): SessionState.CLOSING,
    (SessionState.OPEN, Input.DRAIN): SessionState.DRAINING,
    (SessionState.DRAINING, Input.EVENTS): SessionState.DRAINING,
    (SessionState.DRAINING, Input.HEARTBEAT): SessionState.DRAINING,
    (SessionState.DRAINING, Input.HALF_CLOSE): SessionState.CLOSING,
}

assert TABLE[SessionState.OPEN, Input.EVENTS] is SessionState.OPEN

_EXPECTED = {
    SessionState.NEW: "hello expected first",
    SessionState.OPEN: "events or heartbeat expected",
    SessionState.DRAINING: "events or heartbeat expected",
    SessionState.CLOSING: "nothing more expected",
}


class IngestSession:
    """The pure core of one stream, opened by somebody whose token was found good."""

    __slots__ = (
        "_ack_due",
        "_early",
        "_early_count",
        "_positions",
        "_receipts",
        "_shed",
        "_shed_total",
        "acked",
        "actor_id",
        "by_producer",
        "credit_max",
        "games",
        "guest",
        "issued_at_s",
        "last_allowed",
        "name",
        "next_seq",
        "origin_id",
        "origin_key",
        "origins",
        "paying_producer",
        "producer",
        "relayed",
        "state",
    )

    def __init__(self) -> None:
        self.state = SessionState.NEW
        self.origin_id = ""
        self.origin_key = b""
        self.origins = NO_ORIGINS
        self.issued_at_s = SEQ_MAX
        """When the stream's own origin was issued, Unix seconds; never before there is one."""
        self.actor_id = ""
        """Who acts in events that name nobody; "" for a producer that acts for others only."""
        self.games: Container[str] | None = None
        """The only games the token opens."""
        self.producer = False
        self.guest = False
        """Whether a guest acts, as the token says."""
        self.name = ""
        """What others see of the stream's actor, as the token says; "" of one that is not the token's."""
        self.paying_producer: str | None = None
        """The platform's producer whose rate is charged; None: that of each event's actor."""
        self.by_producer = False
        """Whether the token has the role producer: its own events may go where only producers write."""
        self.credit_max = 0
        self.last_allowed = 0
        """The greatest number that may come now."""
        self.next_seq = 1
        """The number expected next; see `advance`."""
        self.acked = 0
        self.relayed = 0
        """Relayed events taken and not settled."""
        self._early: dict[int, tuple[int, Position | None, bool]] = {}
        self._early_count = 0
        self._positions: dict[int, Position] = {}
        self._receipts: list[acks.Receipt] = []
        self._shed: list[int] = []
        self._shed_total = 0
        self._ack_due = False

    def step(self, given: Input) -> None:
        """Goes to the next state. Raises Invalid for an input the table does not list."""
        then = TABLE.get((self.state, given))
        if then is None:
            again = "a second hello; " if given is Input.HELLO and self.state is not SessionState.NEW else ""
            raise Invalid(f"message: {again}{_EXPECTED[self.state]}, got {given.value}")
        self.state = then

    def close(self) -> None:
        """Goes to CLOSING, from any state: the stream has failed or the client has gone."""
        self.state = SessionState.CLOSING

    def advance(self, next_seq: int) -> None:
        """The caller has taken the stream's own events before `next_seq`. It may report several at once, but
        before it calls `check_next`."""
        self.next_seq = next_seq

    def relayed_taken(self) -> None:
        """The caller has taken a relayed event."""
        self.relayed += 1

    @property
    def unacked(self) -> int:
        """How many numbers of the stream's own origin are taken and not acked."""
        return self.next_seq - 1 - self.acked

    @property
    def unsettled(self) -> int:
        """Events taken and not yet settled, relayed ones included."""
        return self.next_seq - 1 - self.acked - self._early_count + self.relayed

    @property
    def receipts_owed(self) -> int:
        """Receipts that the next ack will carry."""
        return len(self._receipts)

    def hello(
        self,
        hello: Hello,
        identity: Identity,
        origins: Origins,
        *,
        now_s: float,
        at_s: float,
        entropy: bytes,
    ) -> Welcome:
        """Opens the session; the caller may put a smaller credit into the Welcome. Times and `entropy` are
        those of `Origins.issue`.

        Raises Invalid, naming the field, Forbidden for what the token does not allow, and Exhausted for too
        many new origins.
        """
        self.step(Input.HELLO)
        if len(hello.client) > wire_bounds.CLIENT_NAME_CHARACTERS_MAX:
            raise Invalid(
                f"hello.client: {shown(hello.client)} has {len(hello.client)} characters; "
                f"at most {wire_bounds.CLIENT_NAME_CHARACTERS_MAX} are allowed"
            )
        if hello.producer and not identity.producer:
            raise Forbidden("hello.producer: the token has not the role producer; get one that has it")
        if hello.actor_id:
            actors.check_actor("hello.actor_id", hello.actor_id)
            actor_id = identity.act_for("hello.actor_id", hello.actor_id)
        else:
            actor_id = "" if hello.producer else identity.actor_id
        if not actor_id and not hello.producer:
            raise Invalid(
                "hello.actor_id: is empty, and so is the token's actor; name one, "
                "or open a producer's stream and name the actor of each event"
            )
        if hello.next_origin_seq > SEQ_MAX:
            raise Invalid(f"hello.next_origin_seq: is {hello.next_origin_seq}; at most 2^63-1 is allowed")
        if hello.next_origin_seq > 1 and not hello.origin_id:
            raise Invalid(
                f"hello.next_origin_seq: is {hello.next_origin_seq} without hello.origin_id; "
                "a new origin starts at 1"
            )
        origin_id, replaced = hello.origin_id, ""
        if origin_id:
            replaced = origins.refusal(origin_id, identity, producer=hello.producer, now_s=now_s)
        is_new = not origin_id or bool(replaced)
        if is_new:
            origin_id = origins.issue(
                identity, producer=hello.producer, now_s=now_s, at_s=at_s, entropy=entropy
            )
        self.origin_id = origin_id
        self.origin_key = ids.origin_key(origin_id)
        self.issued_at_s = ids.origin_issued_at_s(origin_id)
        self.actor_id = actor_id
        self.games = identity.games
        self.producer = hello.producer
        self.guest = identity.guest
        self.name = identity.name if actor_id == identity.actor_id else ""
        if identity.producer and not identity.of_mesh:
            self.paying_producer = identity.actor_id
        self.by_producer = identity.producer
        self.credit_max = ids.origin_credit(origin_id)
        self.next_seq = 1 if is_new else max(1, hello.next_origin_seq)
        self.origins = origins
        self.acked = self.next_seq - 1
        self.last_allowed = min(self.acked + self.credit_max, SEQ_MAX)
        welcome = Welcome(
            origin_id=origin_id,
            next_origin_seq=self.next_seq,
            credit=self.credit_max,
            credit_max=self.credit_max,
            id_characters_max=wire_bounds.ID_CHARACTERS_MAX,
            batch_events_max=wire_bounds.BATCH_EVENTS_MAX,
            message_bytes_max=wire_bounds.INGEST_MESSAGE_BYTES_MAX,
            replaced=replaced,
        )
        welcome.heartbeat_interval.FromNanoseconds(int(wire_bounds.PUBLISH_HEARTBEAT_S * 1e9))
        return welcome

    def check_batch(self, count: int) -> None:
        """Whether a batch of `count` events may come. Raises Invalid, Exhausted, NotNow."""
        if self.state is not SessionState.OPEN:  # by far the most are, and stay it
            self.step(Input.EVENTS)
        if not 1 <= count <= wire_bounds.BATCH_EVENTS_MAX:
            raise Invalid(
                f"events: a batch of {count}; 1 to {wire_bounds.BATCH_EVENTS_MAX} events are allowed"
            )

    def check_next(self, seq: int) -> None:
        """Whether `seq` may come next. Raises Invalid, Exhausted, NotNow."""
        if seq != self.next_seq:
            raise Invalid(f"origin_seq: {seq} after {self.next_seq - 1}; {self.next_seq} expected")
        if seq > SEQ_MAX:
            raise NotNow("origin_seq: the origin's numbers are used up; open a new origin")
        if seq - self.acked > self.credit_max:
            raise Exhausted(
                f"origin_seq: {seq} is {seq - self.acked} ahead of the last ack ({self.acked}); "
                f"at most {self.credit_max} may be unacked, wait for acks"
            )

    def settled(self, first: int, last: int, position: Position | None, *, shed: bool = False) -> None:
        """The own events `first` to `last` are stored at `position`, or with None shed or refused
        (the caller has queued the Reject before this). Each number is settled once."""
        if first != self.acked + 1:
            self._early[first] = (last, position, shed)
            self._early_count += last - first + 1
            return
        self._cover(first, last, position, shed)
        early = self._early
        while early and (found := early.pop(self.acked + 1, None)) is not None:
            self._early_count -= found[0] - self.acked
            self._cover(self.acked + 1, *found)
        self._ack_due = True

    def _cover(self, first: int, last: int, position: Position | None, shed: bool) -> None:
        self.acked = last
        allowed = last + self.credit_max
        self.last_allowed = min(SEQ_MAX, allowed)
        if position is not None:
            partition = position.partition
            known = self._positions.get(partition)
            if known is None or known.sequence < position.sequence:
                self._positions[partition] = position
        elif shed:
            self._shed.extend(range(first, last + 1))
            self._shed_total += last - first + 1

    def check_relayed(self, origin_id: str) -> None:
        """Whether events may be relayed for this well-formed origin. A platform's producer relays for its own
        alone: with an actor's it could number what that actor sends elsewhere. A service of the mesh has
        checked its sender's itself. Raises OriginRefused."""
        origins = self.origins
        if why := origins.left(origin_id):
            raise OriginRefused(f"event.origin_id: {why}")
        if self.paying_producer is not None and not origins.is_of(origin_id, self.paying_producer):
            raise OriginRefused(
                f"event.origin_id: {origin_id} was not issued to the producer {shown(self.paying_producer)} "
                "here, or its key is gone; ask IssueOrigin for one"
            )

    def relayed_stored(self, origin_id: str, origin_seq: int, position: Position) -> None:
        """A relayed event is stored."""
        self.relayed -= 1
        self._receipts.append((origin_id, origin_seq, position))
        self._ack_due = True

    def relayed_refused(self) -> None:
        """A relayed event is refused; the caller has queued the Reject."""
        self.relayed -= 1

    def take_ack(self) -> bytes | None:
        """What has been settled since the last ack, as an encoded PublishResponse, or None."""
        if not self._ack_due:
            return None
        positions = self._positions
        ordered = positions.values() if len(positions) < 2 else [positions[p] for p in sorted(positions)]
        ack = acks.encoded(self.acked, ordered, self._receipts, self._shed, self._shed_total)
        positions.clear()
        if self._receipts:
            self._receipts = []
        if self._shed:
            self._shed = []
        self._ack_due = False
        return ack
