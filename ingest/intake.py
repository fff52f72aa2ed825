"""Takes the events of a message: sequence number, identity, body, admission; then into the coalescer.

This is the hot path of ingest, and synchronous: one event costs a few microseconds here. The order of the
checks is that of I10: the token was checked when the stream opened and the message's size by gRPC; then come
actor, body and rate. What is refused for good is reported at once. An event that names a game, poll or board
that this ingest does not know is returned as unresolved, and the shell asks the catalog. So are votes and
scores while the view of the catalog is stale: whether their poll is still open is not known, so they are
neither taken nor refused before it is (I9).

The loop in `Intake.take` holds a fast path for the usual event; `_one` is the general path. Both have the
same effect (tests/ingest/test_intake_paths.py).

Bounds: what a message holds. An event that was taken is in the coalescer, or settled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import IncomingEvent
from grandstand.wire import actors, ids
from grandstand.wire.bounds import BATCH_EVENTS_MAX
from grandstand.wire.errors import Exhausted, Forbidden, GrandstandError, Invalid, Unavailable, Unknown, shown
from ingest.admission import SHED, Admission, OverRate
from ingest.check import NO_BODY, Checker, KnownEvents
from ingest.coalesce import FULL_BYTES, MANY_BYTES, Batch, Coalescer
from ingest.pressure import Pressure
from ingest.session import SEQ_MAX, IngestSession, SessionState
from mesh.explain.recent_refusals import RecentRefusals
from mesh.jetstream import subjects


class Ticket(Protocol):
    """Waits for events to be stored. Each number is reported exactly once, by `stored` or `refused`."""

    @property
    def is_gone(self) -> bool:
        """The stream has ended: an event that is not stored yet need not be."""
        ...

    @property
    def is_relayed(self) -> bool:
        """Its sender resends an event that was not stored in time."""
        ...

    def stored(self, first: int, last: int, position: Position) -> None: ...
    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None: ...


class IntakeSender(Ticket, Protocol):
    """The stream that a message came on. It is the ticket of the events of its own origin."""

    @property
    def session(self) -> IngestSession: ...
    def shed(self, seq: int) -> None: ...
    def relayed(self, origin_id: str) -> Ticket: ...


class RelayedSender(Protocol):
    @property
    def is_gone(self) -> bool: ...
    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None: ...
    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None: ...


class RelayedTicket:
    """The ticket of one event that names an origin of its own."""

    __slots__ = ("_sender", "origin_id")

    is_relayed = True

    def __init__(self, sender: RelayedSender, origin_id: str) -> None:
        self._sender = sender
        self.origin_id = origin_id

    @property
    def is_gone(self) -> bool:
        return self._sender.is_gone

    def stored(self, first: int, last: int, position: Position) -> None:
        for seq in range(first, last + 1):
            self._sender.relayed_stored(self.origin_id, seq, position)

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self._sender.relayed_refused(self.origin_id, seq, error, maybe_stored=maybe_stored)


Unresolved = list[tuple[IncomingEvent, GrandstandError]]
"""Events whose game, poll or board is unknown here, or that a stale view cannot validate; and the error that
each would be refused with."""


class StaleCatalog(Unavailable):
    """A vote or a score was received while the view of the catalog was stale."""


_HELD = StaleCatalog("the catalog does not answer, so it is not known whether this is still open; send again")
_TIMED = ("vote", "score")

_FULL = Exhausted(
    f"the event log is nearly full; send again once the operator has raised max_bytes of stream "
    f"{subjects.EVENTS_STREAM}"
)
_SHED = Exhausted("shed: the mesh is under pressure; measures, reactions and presence go first")


class Intake:
    """Shared by all streams of an ingest. `now_s`: Unix seconds of the mesh's clock; `at_s`: the coalescer's
    clock; `anchor_s`: of the view that validates (mesh.catalog.freshness)."""

    def __init__(
        self,
        checker: Checker,
        coalescer: Coalescer[Ticket],
        admission: Admission,
        pressure: Pressure,
        refusals: RecentRefusals | None = None,
    ) -> None:
        self._checker = checker
        self._coalescer = coalescer
        self._admission = admission
        self._pressure = pressure
        self._refusals = RecentRefusals() if refusals is None else refusals
        self.received = 0
        """Events that came, whatever became of them."""
        self.shed: dict[str, int] = {}
        """By kind."""

    def take(
        self,
        sender: IntakeSender,
        events: Sequence[IncomingEvent],
        now_s: float,
        at_s: float,
        unresolved: Unresolved,
        cause: str = "",
        *,
        anchor_s: float = math.inf,
        is_fresh: bool = True,
    ) -> float:
        """Takes the events of one message and reports to the sender what is refused or shed. Events with
        unknown names, and votes and scores unless the view `is_fresh`, are appended to `unresolved` for
        `take_unresolved`. `cause`: the message's trace context.

        Returns how many seconds to pause reading from the stream. Raises Invalid, Exhausted,
        NotNow where the stream must end; the events before the one at fault are taken.
        """
        session = sender.session
        count = len(events)
        self.received += count
        if session.state is not SessionState.OPEN or not 0 < count <= BATCH_EVENTS_MAX:
            session.check_batch(count)
        known = self._checker.known(session.producer, session.guest)
        next_seq, last_allowed = session.next_seq, session.last_allowed
        wait_s = 0.0
        # The fast path: the stream's own event, of a viewer for itself or of a producer for another actor,
        # with a body that was validated before and no pressure anywhere. `_one` takes all others.
        admission = self._admission
        paying, producer = session.paying_producer, session.producer
        # A gateway of the mesh pays for nobody: each actor has a rate of its own to be charged.
        is_usual = is_fresh and not (
            self._pressure.sheds_measures
            or cause
            or session.games is not None
            or (producer and paying is None)
        )
        own_actor = session.actor_id
        # A message of one event is admitted by all buckets at once.
        is_alone = count == 1 and not producer
        batch: Batch[Ticket] | None = None
        at = 0
        # The events of `calm_game` admitted by their actors alone, and not charged yet (Admission.calm).
        calm_game, calm_now, calm_count = "", None, 0
        try:
            for event in events:
                seq = event.origin_seq
                origin_id = event.origin_id
                if origin_id:
                    ticket = self._relayed(sender, origin_id, seq)
                else:
                    if seq != next_seq or seq > last_allowed:
                        session.advance(next_seq)
                        session.check_next(seq)
                    next_seq = seq + 1
                    ticket = sender
                    body = event.vote
                    kind = "vote" if body else event.WhichOneof("body")
                    if is_usual and kind is not None:
                        game_id, actor_id = event.game_id, event.actor_id
                        validated = known.get((game_id, kind, body or getattr(event, kind)))
                        if (
                            validated is not None
                            and now_s < validated.until_s
                            and (actor_id and actor_id != own_actor if producer else not actor_id)
                        ):
                            cost = validated.cost
                            if is_alone:
                                actor_id = own_actor
                                is_in = admission.admit_usual(actor_id, game_id, now_s, paying, cost)
                            else:
                                if not producer:
                                    actor_id = own_actor
                                if game_id != calm_game:
                                    if calm_now is not None:
                                        admission.charge(calm_game, calm_count, calm_now)
                                    calm_game, calm_count = game_id, 0
                                    calm_now = admission.calm(game_id, count, now_s, own_actor, paying)
                                is_in = calm_now is not None and admission.admit_calm(
                                    game_id, actor_id, calm_now, cost
                                )
                                calm_count += is_in
                                if is_in and cost > 1 and paying is None and calm_now is not None:
                                    # More than `calm` has looked for.
                                    admission.charge(game_id, calm_count, calm_now, cost - 1)
                                    calm_game, calm_now, calm_count = "", None, 0
                            if is_in:
                                partition = validated.only
                                if partition is None:
                                    partition = validated.partition_of(actor_id)
                                if batch is None or batch.partition != partition or batch.bytes >= FULL_BYTES:
                                    batch = self._coalescer.batch(partition, at_s, now_s, anchor_s)
                                    at = batch.origin_at(session.origin_key, producer)
                                batch.add_of(at, validated, seq, actor_id, sender)
                                continue
                batch = None  # the one that follows may fill it
                try:
                    owed_s = self._one(
                        sender, ticket, event, known, now_s, at_s, anchor_s, cause, is_fresh=is_fresh
                    )
                    if owed_s > wait_s:
                        wait_s = owed_s
                except (Unknown, StaleCatalog) as error:
                    unresolved.append((event, error))
                except GrandstandError as error:
                    ticket.refused(seq, error)
                    self._refusals.refused_event(session.actor_id, session.origin_id, event, error)
                    if not isinstance(error, OverRate):
                        wait_s = max(wait_s, self.charge(session, now_s))
        finally:
            session.advance(next_seq)
            if batch is not None and batch.bytes >= MANY_BYTES:
                self._coalescer.hasten(batch)
            if calm_now is not None:
                admission.charge(calm_game, calm_count, calm_now)
        return wait_s

    def charge(self, session: IngestSession, now_s: float) -> float:
        """Charges the stream's actor for work on an event that is not taken. Returns how many seconds to
        pause reading from the stream."""
        return self._admission.admit(
            session.actor_id, "", "", own=True, now_s=now_s, producer=session.paying_producer
        )

    def owes_s(self, actor_id: str, now_s: float) -> float:
        """Seconds until the actor's rate debt from an earlier stream is paid."""
        return self._admission.owes_s(actor_id, now_s)

    def take_unresolved(
        self,
        sender: IntakeSender,
        unresolved: Unresolved,
        now_s: float,
        at_s: float,
        *,
        anchor_s: float = math.inf,
    ) -> None:
        """Takes unresolved events after the catalog was asked, with a fresh view. Refuses what is still
        unknown.

        `now_s` may be when they were received, if that is not longer ago than VIEW_FRESH_S (I9: a vote counts
        that was received before the close). That is sound although they are stored later: a topic that is
        CLOSED by its stage takes nothing whatever `now_s` says, and one that is OPEN in a view with this
        anchor is not sealed before the block's ack is due (see ingest.publisher), however late that is after
        the close.
        """
        known = self._checker.known(sender.session.producer, sender.session.guest)
        for event, _ in unresolved:
            origin_id = event.origin_id
            ticket = sender.relayed(origin_id) if origin_id else sender
            try:
                self._one(sender, ticket, event, known, now_s, at_s, anchor_s, "", admitted=True)
            except GrandstandError as error:
                ticket.refused(event.origin_seq, error)
                session = sender.session
                self._refusals.refused_event(session.actor_id, session.origin_id, event, error)

    def _relayed(self, sender: IntakeSender, origin_id: str, seq: int) -> Ticket:
        session = sender.session
        if not session.producer:
            raise Invalid("event.origin_id: only a producer may relay for other origins; leave it empty")
        session.relayed_taken()
        return sender.relayed(origin_id)

    def _one(
        self,
        sender: IntakeSender,
        ticket: Ticket,
        event: IncomingEvent,
        known: KnownEvents,
        now_s: float,
        at_s: float,
        anchor_s: float,
        cause: str,
        *,
        admitted: bool = False,
        is_fresh: bool = True,
    ) -> float:
        """Takes one event, or raises the refusal. Returns how many seconds to pause reading from the
        stream."""
        session = sender.session
        kind = event.WhichOneof("body")
        if kind is None:
            raise Invalid(NO_BODY)
        game_id = event.game_id
        actor_id = event.actor_id
        own = True
        if not actor_id:
            actor_id = session.actor_id
            if not actor_id:
                raise Invalid("event.actor_id: is empty; a producer names the actor of each event")
        elif actor_id != session.actor_id:
            if not session.producer:
                raise Forbidden(
                    f"event.actor_id: {shown(actor_id)} is not the stream's actor {session.actor_id!r}; "
                    "only a producer acts for others"
                )
            actors.check_actor("event.actor_id", actor_id)
            own = False
        if session.games is not None and game_id not in session.games:
            raise Forbidden(f"event.game_id: {shown(game_id)} is not among the games of the token")
        seq = event.origin_seq
        guest = session.guest
        if ticket is sender:
            origin, producer, by_producer = session.origin_key, session.producer, session.by_producer
        else:
            if event.guest:
                guest = True
                known = self._checker.known(session.producer, guest)
            origin_id = ids.check_origin("event.origin_id", event.origin_id, now_s)
            if session.paying_producer is not None or session.origins.issued_from_s:
                session.check_relayed(origin_id)
            if not 1 <= seq <= SEQ_MAX:
                raise Invalid(f"event.origin_seq: is {seq}; 1 to 2^63-1 expected")
            origin, producer = ids.origin_key(origin_id), origin_id[0] == "p"
            by_producer = producer
            own = False
            if self._pressure.log_full:
                raise _FULL
        pressure, admission, paying = self._pressure, self._admission, session.paying_producer
        # A producer that acts for itself is a server, not a player: no actor's rate applies.
        whose = "" if own and session.producer else actor_id
        if admitted:
            wait_s = 0.0
        elif (pressure.sheds_measures and kind == "measure") or (
            pressure.sheds_reactions and (kind == "reaction" or kind == "presence")
        ):
            wait_s = SHED
        else:
            wait_s = admission.admit(whose, game_id, kind, own=own, now_s=now_s, producer=paying)
        if wait_s == SHED:
            self.shed[kind] = self.shed.get(kind, 0) + 1
            if ticket is not sender:
                raise _SHED
            sender.shed(seq)
            self._refusals.shed(actor_id, game_id, kind)
            return 0.0
        if not is_fresh and kind in _TIMED:
            raise _HELD
        body: bytes = getattr(event, kind)
        validated = known.get((game_id, kind, body))
        if validated is None or now_s >= validated.until_s:
            validated = self._checker.validate(
                game_id, kind, body, now_s, session.producer, guest=guest, by_producer=by_producer
            )
        if kind == "score" and own and session.name and not validated.name:
            validated.call(session.name)
        if validated.cost > 1:
            admission.charge_more(whose, game_id, validated.cost - 1, now_s=now_s, producer=paying)
        partition = validated.only
        if partition is None:
            partition = validated.partition_of(actor_id)
        batch = self._coalescer.batch(partition, at_s, now_s, anchor_s)
        batch.add(validated, origin, producer, seq, actor_id, ticket)
        if cause:
            batch.caused_by(cause)
        return wait_s
