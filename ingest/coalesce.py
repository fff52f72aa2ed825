"""Gathers the events of all streams into one columnar block for each partition.

A partition's block leaves on the leading edge, as soon as it has an event, when the
partition was idle; while events keep coming one leaves every `interval_s`, or when it is
full by count or bytes. So a lone vote waits for nothing and a storm costs a bounded number
of messages.

Bounds: a block holds at most BLOCK_EVENTS_MAX events and about BLOCK_BYTES_MAX bytes. How
many blocks may wait is not decided here: ingest stops reading from its streams when too
many events are unsettled (limits.UNSETTLED_EVENTS_MAX).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from grandstand.internal.v1.internal_pb2 import Block, Events, Section
from ingest.check import Row
from mesh import limits

Ticket = TypeVar("Ticket")

# What a row adds to a block at most, besides its strings.
_ROW_BYTES = 40


class Batch(Generic[Ticket]):
    """Rows of one partition that leave together, each with the ticket of who waits for it."""

    __slots__ = ("bytes", "opened_at", "partition", "rows", "taken", "tickets")

    def __init__(self, partition: int, opened_at: float) -> None:
        self.partition = partition
        self.opened_at = opened_at
        self.rows: list[Row] = []
        self.tickets: list[Ticket] = []
        self.bytes = 0
        self.taken = 0

    def add(self, row: Row, ticket: Ticket) -> None:
        self.rows.append(row)
        self.tickets.append(ticket)
        self.taken += 1
        self.bytes += _ROW_BYTES + len(row.origin_id) + len(row.actor_id) + len(row.label)

    @property
    def is_full(self) -> bool:
        # Half of the bytes, because the names of games and topics are not counted.
        return len(self.rows) >= limits.BLOCK_EVENTS_MAX or self.bytes >= limits.BLOCK_BYTES_MAX // 2


class Coalescer(Generic[Ticket]):
    """The pure core; times are seconds of any monotonic clock."""

    def __init__(self, interval_s: float = limits.COALESCE_S) -> None:
        self._interval_s = interval_s
        self._open: dict[int, Batch[Ticket]] = {}
        self._full: list[Batch[Ticket]] = []
        self._left_at: dict[int, float] = {}

    def add(self, row: Row, ticket: Ticket, now_s: float) -> None:
        """`now_s`: when the event was received; the first of a block sets its deadline."""
        batch = self._open.get(row.partition)
        if batch is None:
            batch = self._open[row.partition] = Batch(row.partition, now_s)
        batch.add(row, ticket)
        if batch.is_full:
            self._full.append(self._open.pop(row.partition))

    def take_due(self, now_s: float) -> list[Batch[Ticket]]:
        """The batches that leave now, full ones first."""
        due, self._full = self._full, []
        for partition in [p for p in self._open if self._due_at(p) <= now_s]:
            due.append(self._open.pop(partition))
        for batch in due:
            self._left_at[batch.partition] = now_s
        return due

    def next_due_at(self) -> float | None:
        """When `take_due` has something again; None while nothing waits."""
        return min((self._due_at(p) for p in self._open), default=None)

    def _due_at(self, partition: int) -> float:
        return self._left_at.get(partition, float("-inf")) + self._interval_s


def encode(rows: Iterable[Row], stamped_at_ns: int) -> Block:
    """The rows as a block: shared dictionaries, one section for each topic, order kept within it."""
    block = Block()
    block.stamped_at.FromNanoseconds(stamped_at_ns)
    events = block.events
    origins: dict[str, int] = {}
    actors: dict[str, int] = {}
    sections: dict[tuple[str, str], tuple[Section, dict[str, int]]] = {}
    for row in rows:
        key = (row.game_id, row.topic)
        found = sections.get(key)
        if found is None:
            found = sections[key] = (events.sections.add(game_id=row.game_id, topic=row.topic), {})
        section, labels = found
        section.origin.append(origins.setdefault(row.origin_id, len(origins)))
        section.origin_seq.append(row.origin_seq)
        section.actor.append(actors.setdefault(row.actor_id, len(actors)))
        if row.label:
            section.label.append(labels.setdefault(row.label, len(labels)))
        if row.amount or not row.label:
            section.amount.append(row.amount)
    for section, labels in sections.values():
        section.labels.extend(labels)
    events.MergeFrom(Events(origins=list(origins), actors=list(actors)))
    return block
