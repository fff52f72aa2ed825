"""Gathers the events of all streams into one columnar block for each partition.

A partition's block leaves on the leading edge, as soon as it has an event, when the
partition was idle; while events keep coming one leaves every `interval_s`, or when it is
full by count or bytes. So a lone vote waits for nothing and a storm costs a bounded number
of messages.

A block of a few events waits longer: for the next beat, a moment every `beat_s` that is the same for all
partitions. Thousands of quiet games share the partitions, and a block costs everybody the same whether it has
two events or twenty. It is not shown later for that: owners flush a partition as seldom as that anyway, and
blocks that come together are flushed together.

The ticket of an event is what waits for it to be stored. Consecutive events of one ticket form a run, so that
one call reports a run as stored.

Bounds: a block holds at most BLOCK_EVENTS_MAX events and about BLOCK_BYTES_MAX bytes. How
many blocks may wait is not decided here: ingest stops reading from its streams when too
many events are unsettled (bounds.UNSETTLED_EVENTS_MAX).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from struct import pack
from typing import Generic, NamedTuple, TypeVar

from grandstand.internal.v1.internal_pb2 import Block, Events, Section
from grandstand.wire import ids
from ingest import bounds
from ingest.check import ROW_BYTES, Place, ValidatedEvent
from mesh import limits

Ticket = TypeVar("Ticket")

# Of trace contexts in a block.
LINKS_MAX = 32

# Half of what a block may have, because the names of games and topics are not counted.
FULL_BYTES = limits.BLOCK_BYTES_MAX // 2

# From here on a block has more than a few.
MANY_BYTES = 32 * ROW_BYTES

assert FULL_BYTES <= ROW_BYTES * limits.BLOCK_EVENTS_MAX, "full by bytes before it is by count"

Entry = tuple[Ticket, int, int, int, ValidatedEvent]
"""Whose; origin_seq; the origin's place, -1 - place for a producer's; the actor's place; what it says."""


class SequenceRun(Generic[Ticket]):
    """Consecutive numbers of one ticket, `first` to `last`."""

    __slots__ = ("first", "last", "ticket")

    def __init__(self, ticket: Ticket, first: int, last: int) -> None:
        self.ticket = ticket
        self.first = first
        self.last = last


class BatchOrigins(NamedTuple):
    """The keys of a batch's origins, by the places its entries name them with."""

    viewers: list[bytes]
    producers: list[bytes]

    def key(self, at: int) -> bytes:
        return self.producers[-1 - at] if at < 0 else self.viewers[at]


class Outcome(Generic[Ticket]):
    """Whether a batch is stored, for second votes of the actors who voted in it (ingest.votes)."""

    __slots__ = ("is_stored", "waiting")

    def __init__(self) -> None:
        self.is_stored = False
        self.waiting: dict[tuple[Place, str, int], list[tuple[Ticket, int]]] = {}
        """Second votes that wait for the first, by ingest.votes' voter: ticket and origin_seq of each."""


class Batch(Generic[Ticket]):
    """Events of one partition that leave together, by place, in the order they came within it."""

    __slots__ = (
        "_actor_keys",
        "_actors",
        "_producers",
        "_rows",
        "_viewers",
        "anchor_s",
        "bytes",
        "causes",
        "is_hastened",
        "opened_at",
        "outcome",
        "partition",
        "runs",
        "sections",
        "stamped_at_s",
    )

    def __init__(
        self, partition: int, opened_at: float, stamped_at_s: float = 0.0, anchor_s: float = math.inf
    ) -> None:
        self.partition = partition
        self.opened_at = opened_at
        self.stamped_at_s = stamped_at_s
        """When the first event was received, by the mesh's clock. Whatever becomes of the block, it stays."""
        self.anchor_s = anchor_s
        """The anchor of the view that validated the first event (mesh.catalog.freshness); those after it were
        judged by views that are no older."""
        self.bytes = 0
        self.is_hastened = False
        self.causes: list[str] = []
        """Trace contexts of what is in here."""
        self.runs: list[SequenceRun[Ticket]] = []
        self.sections: dict[Place, list[Entry[Ticket]]] = {}
        self.outcome: Outcome[Ticket] = Outcome()
        self._rows: dict[ValidatedEvent, list[Entry[Ticket]]] = {}
        """The rows of its place, by what an event says: an object is found sooner than a place."""
        self._viewers: dict[bytes, int] = {}
        self._producers: dict[bytes, int] = {}
        self._actors: dict[str, int] = {}
        self._actor_keys: list[bytes] = []

    def add(
        self,
        validated: ValidatedEvent,
        origin: bytes,
        producer: bool,
        seq: int,
        actor_id: str,
        ticket: Ticket,
    ) -> None:
        """`origin`: its key; `producer`: whether it is a producer's."""
        self.add_of(self.origin_at(origin, producer), validated, seq, actor_id, ticket)

    def origin_at(self, origin: bytes, producer: bool) -> int:
        """The number that stands for the origin in this batch: -1 - its place for a producer's."""
        if producer:
            return -1 - self._producers.setdefault(origin, len(self._producers))
        return self._viewers.setdefault(origin, len(self._viewers))

    def add_of(self, at: int, validated: ValidatedEvent, seq: int, actor_id: str, ticket: Ticket) -> None:
        """As `add`, of the origin that has this number."""
        actors = self._actors
        size, known = validated.size, len(actors)
        actor_at = actors.setdefault(actor_id, known)
        if actor_at == known:
            size += len(actor_id) if actor_id.isascii() else len(actor_id.encode())
        self.bytes += size
        rows = self._rows.get(validated)
        if rows is None:
            rows = self._rows[validated] = self.sections.setdefault(validated.place, [])
        rows.append((ticket, seq, at, actor_at, validated))
        runs = self.runs
        if runs:
            run = runs[-1]
            if run.ticket is ticket and run.last == seq - 1:
                run.last = seq
                return
        runs.append(SequenceRun(ticket, seq, seq))

    def caused_by(self, traceparent: str) -> None:
        """Remembers a trace context, LINKS_MAX of them."""
        if len(self.causes) < LINKS_MAX and (not self.causes or self.causes[-1] != traceparent):
            self.causes.append(traceparent)

    @property
    def is_full(self) -> bool:
        return self.bytes >= FULL_BYTES

    @property
    def count(self) -> int:
        """How many events are in here."""
        return sum(map(len, self.sections.values()))

    def entries(self) -> Iterator[Entry[Ticket]]:
        return chain.from_iterable(self.sections.values())

    def keep(self, sections: dict[Place, list[Entry[Ticket]]]) -> None:
        """Goes on with these of its rows only."""
        self.sections = {place: rows for place, rows in sections.items() if rows}
        self.runs = [SequenceRun(entry[0], entry[1], entry[1]) for entry in self.entries()]

    def actor_ids(self) -> list[str]:
        """The actors by their places."""
        return list(self._actors)

    def actor_keys(self) -> list[bytes]:
        """Their keys; for a batch that has left the coalescer."""
        if len(self._actor_keys) != len(self._actors):
            self._actor_keys = ids.actor_keys(self._actors)
        return self._actor_keys

    def origins(self) -> BatchOrigins:
        return BatchOrigins(list(self._viewers), list(self._producers))

    def encode(self, stamped_at_ns: int) -> Block:
        """The rows as a block: shared dictionaries, and a section for each place."""
        origins: list[int] = []
        seqs: list[int] = []
        actors: list[int] = []
        values: list[bytes] = []
        sections: list[Section] = []
        for place, rows in self.sections.items():
            _, row_seqs, row_origins, row_actors, said = zip(*rows, strict=True)
            origins.extend(row_origins)
            seqs.extend(row_seqs)
            actors.extend(row_actors)
            section, value = _section(place, said)
            sections.append(section)
            values.append(value)
        viewers = len(self._viewers)
        if self._producers:
            origins = [at if at >= 0 else viewers - 1 - at for at in origins]
        count = len(origins)
        block = Block(
            events=Events(
                viewers=b"".join(self._viewers),
                producers=b"".join(self._producers),
                actor_keys=b"".join(self.actor_keys()),
                actors="\n".join(self._actors),
                origin=pack(f"<{count}H", *origins),
                origin_seq=pack(f"<{count}Q", *seqs),
                actor=pack(f"<{count}H", *actors),
                value=b"".join(values),
                sections=sections,
            )
        )
        block.stamped_at.FromNanoseconds(stamped_at_ns)
        return block


def _section(place: Place, said: tuple[ValidatedEvent, ...]) -> tuple[Section, bytes]:
    """The section, and its share of the value column."""
    kind, count = said[0].kind, len(said)
    game_id, topic, guests, generation = place
    section = Section(game_id=game_id, topic=topic, guests=guests, rows=count, generation=generation)
    if kind == "vote":
        if said[0].weight:  # a poll's votes all have one, or none has
            section.weight = pack(f"<{count}I", *[validated.weight or 1 for validated in said])
    elif kind == "reaction":
        labels: dict[str, int] = {}
        at = [labels.setdefault(validated.label, len(labels)) for validated in said]
        section.label = pack(f"<{count}H", *at)
        section.labels = "\n".join(labels)
    elif kind == "score":
        names = [validated.name for validated in said]
        if any(names):
            section.names = "\n".join(names)
    elif kind == "custom":
        section.payloads.extend([validated.payload for validated in said])
    width = "Q" if kind == "vote" else "d" if kind == "measure" else "q"
    return section, pack(f"<{count}{width}", *[validated.value for validated in said])


class Coalescer(Generic[Ticket]):
    """The pure core; times are seconds of any monotonic clock."""

    def __init__(self, interval_s: float = bounds.COALESCE_S, beat_s: float = bounds.COALESCE_FEW_S) -> None:
        self._interval_s = interval_s
        self._beat_s = beat_s
        self._open: dict[int, Batch[Ticket]] = {}
        self._full: list[Batch[Ticket]] = []
        self._left_at: dict[int, float] = {}
        self.due_at = math.inf
        """When `take_due` has something again; inf while nothing waits."""

    def batch(
        self, partition: int, now_s: float, stamped_at_s: float = 0.0, anchor_s: float = math.inf
    ) -> Batch[Ticket]:
        """Where the partition's next row goes. `now_s`: when it was received; the first of a
        block sets its deadline, its stamp and its anchor (see Batch)."""
        batch = self._open.get(partition)
        if batch is None or batch.bytes >= FULL_BYTES:
            if batch is not None:
                self._full.append(batch)
                self.due_at = -math.inf
            batch = self._open[partition] = Batch(partition, now_s, stamped_at_s, anchor_s)
            self.due_at = min(self.due_at, self._due_at(partition))
        elif batch.bytes >= MANY_BYTES:
            self.hasten(batch)
        return batch

    def hasten(self, batch: Batch[Ticket]) -> None:
        """It has many events by now, and need not wait for the beat."""
        if not batch.is_hastened and self._open.get(batch.partition) is batch:
            batch.is_hastened = True
            self.due_at = min(self.due_at, self._due_at(batch.partition))

    def take_due(self, now_s: float) -> list[Batch[Ticket]]:
        """The batches that leave now, full ones first."""
        if self.due_at > now_s:
            return []
        due, self._full = self._full, []
        for partition in [p for p in self._open if self._due_at(p) <= now_s]:
            due.append(self._open.pop(partition))
        for batch in due:
            self._left_at[batch.partition] = now_s
        self.due_at = min(map(self._due_at, self._open), default=math.inf)
        return due

    def _due_at(self, partition: int) -> float:
        due_at = self._left_at.get(partition, -math.inf) + self._interval_s
        if math.isinf(due_at) or self._open[partition].bytes >= MANY_BYTES:
            return due_at
        return math.ceil(due_at / self._beat_s) * self._beat_s
