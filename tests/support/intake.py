"""An intake with one stream on it, for tests of ingest's cores: events in, rows or refusals out."""

from __future__ import annotations

from collections.abc import Sequence

from bench._rows import Row, rows_of
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import Ack, EventBatch, Hello, PublishRequest, PublishResponse, Welcome
from grandstand.internal.v1.internal_pb2 import Incoming, IncomingEvent
from grandstand.wire.errors import GrandstandError
from ingest.admission import Admission
from ingest.buckets import Rate
from ingest.check import Catalog, Checker
from ingest.coalesce import Batch, Coalescer
from ingest.intake import Intake, RelayedTicket, Ticket, Unresolved
from ingest.pressure import Pressure
from ingest.session import IngestSession
from mesh.auth.identity import Identity
from mesh.auth.origins import ENTROPY_BYTES
from tests.support.blocks import NOW_S, origins_of_tests

UNLIMITED = Rate(1e9, 1e9)


def bearer(actor_id: str = "ann", *, producer: bool = False, games: Sequence[str] | None = None) -> Identity:
    """Of a platform's token; of a service of the mesh, if it names nobody."""
    allowed = None if games is None else frozenset(games)
    return Identity(actor_id, producer, allowed, NOW_S + 3600, of_mesh=not actor_id)


def incoming(events: Sequence[Event]) -> Sequence[IncomingEvent]:
    """As ingest reads them."""
    request = PublishRequest(events=EventBatch(events=events))
    return Incoming.FromString(request.SerializeToString()).events.events


def taken_ack(session: IngestSession) -> Ack | None:
    """As the client reads it."""
    encoded = session.take_ack()
    return None if encoded is None else PublishResponse.FromString(encoded).ack


class Listener:
    """A stream that notes what it is told; ingest.intake.IntakeSender."""

    is_relayed = False

    def __init__(self) -> None:
        self.session = IngestSession()
        self.is_gone = False
        self.told: list[tuple[str, int, GrandstandError, bool]] = []
        """Refusals: origin id ("" for its own), number, why, and whether a copy may be stored."""

    def open(self, identity: Identity | None = None, **hello: object) -> Welcome:
        given = {"actor_id": "" if hello.get("producer") else "ann"} | hello
        identity = identity or bearer(producer=bool(hello.get("producer")))
        return self.session.hello(
            *(Hello(**given), identity, origins_of_tests()),
            now_s=NOW_S,
            at_s=0.0,
            entropy=bytes(ENTROPY_BYTES),
        )

    def stored(self, first: int, last: int, position: Position) -> None:
        self.session.settled(first, last, position)

    def shed(self, seq: int) -> None:
        self.session.settled(seq, seq, None, shed=True)

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self.told.append(("", seq, error, maybe_stored))
        self.session.settled(seq, seq, None)

    def relayed(self, origin_id: str) -> Ticket:
        return RelayedTicket(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        self.told.append((origin_id, seq, error, maybe_stored))
        self.session.relayed_refused()


class IntakeRig:
    """An intake and its coalescer."""

    def __init__(self, catalog: Catalog, admission: Admission | None = None) -> None:
        self.pressure = Pressure()
        self.coalescer: Coalescer[Ticket] = Coalescer()
        self.checker = Checker(catalog)
        admission = admission or Admission(UNLIMITED, UNLIMITED, UNLIMITED)
        self.intake = Intake(self.checker, self.coalescer, admission, self.pressure)

    def take(self, listener: Listener, *events: Event, now_s: float = NOW_S) -> float:
        """As ingest.stream does, with a catalog that knows no more when it is asked."""
        unresolved: Unresolved = []
        try:
            return self.intake.take(listener, incoming(events), now_s, now_s, unresolved)
        finally:
            self.intake.take_unresolved(listener, unresolved, now_s, now_s)

    def batches(self) -> list[Batch[Ticket]]:
        """All that was taken."""
        return self.coalescer.take_due(float("inf"))

    def rows(self) -> list[Row]:
        return [row for batch in self.batches() for row in rows_of(batch)]


def taken(
    rig: IntakeRig, event: Event, *, now_s: float = NOW_S, producer: bool = False, origin_id: str = ""
) -> Row:
    """The row that the event becomes, sent by ann, or by a producer that acts as ann. Raises its refusal."""
    listener = Listener()
    listener.open(producer=producer, actor_id="ann", origin_id=origin_id, next_origin_seq=event.origin_seq)
    rig.take(listener, event, now_s=now_s)
    if listener.told:
        raise listener.told[0][2]
    (row,) = rig.rows()
    return row
