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

import numpy as np

from grandstand.internal.v1.internal_pb2 import Block, Events, Section
from ingest.check import Row
from mesh import ids, limits

Ticket = TypeVar("Ticket")

# What a row adds to a block at most, besides its strings.
_ROW_BYTES = 64


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
        self.bytes += _ROW_BYTES + len(row.actor_id) + len(row.label) + len(row.payload)

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
    sections: dict[tuple[str, str], list[Row]] = {}
    viewers: dict[str, int] = {}
    producers: dict[str, int] = {}
    actors: dict[str, int] = {}
    for row in rows:
        sections.setdefault((row.game_id, row.topic), []).append(row)
        origins = viewers if row.origin_id[0] == "v" else producers
        origins.setdefault(row.origin_id, len(origins))
        actors.setdefault(row.actor_id, len(actors))
    in_order = [row for section in sections.values() for row in section]
    past_viewers = len(viewers)
    origin_at = {**viewers, **{origin: past_viewers + at for origin, at in producers.items()}}
    block = Block(
        events=Events(
            viewers=b"".join(map(ids.origin_key, viewers)),
            producers=b"".join(map(ids.origin_key, producers)),
            actor_keys=b"".join(map(ids.actor_key, actors)),
            actors="\n".join(actors),
            origin=_column("<u2", [origin_at[row.origin_id] for row in in_order]),
            origin_seq=_column("<u8", [row.origin_seq for row in in_order]),
            actor=_column("<u2", [actors[row.actor_id] for row in in_order]),
            value=b"".join(_values(topic, section) for (_, topic), section in sections.items()),
            sections=[_section(*key, section) for key, section in sections.items()],
        )
    )
    block.stamped_at.FromNanoseconds(stamped_at_ns)
    return block


def _section(game_id: str, topic: str, rows: list[Row]) -> Section:
    section = Section(game_id=game_id, topic=topic, rows=len(rows))
    kind = topic.partition("/")[0]
    if kind == "pulse":
        labels: dict[str, int] = {}
        section.label = _column("<u2", [labels.setdefault(row.label, len(labels)) for row in rows])
        section.labels = "\n".join(labels)
    elif kind == "custom":
        section.payloads.extend(row.payload for row in rows)
    elif any(row.weight for row in rows):
        section.weight = _column("<u4", [row.weight or 1 for row in rows])
    return section


def _values(topic: str, rows: list[Row]) -> bytes:
    kind = topic.partition("/")[0]
    width = "<u8" if kind == "poll" else "<f8" if kind == "metric" else "<i8"
    return _column(width, [row.value for row in rows])


def _column(width: str, values: list[int] | list[int | float]) -> bytes:
    return np.array(values, dtype=width).tobytes()
