"""Blocks leave on the leading edge, then at an interval or when full; nothing is lost on the way."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregate.block import DecodedEvents, decode
from bench._rows import encode
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.wire import ids
from ingest.check import ROW_BYTES, ValidatedEvent
from ingest.coalesce import MANY_BYTES, Batch, Coalescer
from ingest.compiled_definitions import CompiledGame
from mesh import limits
from tests.support import blocks
from tests.support.blocks import origin


def validated(partition_of: str = "poll/mvp") -> ValidatedEvent:
    return ValidatedEvent(CompiledGame(Game(game_id=blocks.GAME)), "vote", partition_of, 1)


def add(coalescer: Coalescer[int], n: int, now_s: float, partition: int = 0) -> None:
    key = ids.origin_key(origin(n % 7))
    coalescer.batch(partition, now_s).add(validated(), key, False, n + 1, f"actor{n}", n)


def tickets(batch: Batch[int]) -> list[int]:
    return [ticket for ticket, *_ in batch.entries()]


def test_a_lone_event_leaves_at_once() -> None:
    coalescer = Coalescer[int]()
    add(coalescer, 1, 100.0)
    assert [tickets(batch) for batch in coalescer.take_due(100.0)] == [[1]]


def test_events_that_follow_closely_leave_together() -> None:
    coalescer = Coalescer[int](interval_s=0.25, beat_s=1.0)
    add(coalescer, 1, 100.5)
    coalescer.take_due(100.5)
    many = MANY_BYTES // ROW_BYTES
    for n in range(2, many // 2):
        add(coalescer, n, 100.5)
    assert coalescer.take_due(100.9) == []
    assert coalescer.due_at == 101.0, "the beat, for a few"
    for n in range(many // 2, 2 * many):
        add(coalescer, n, 100.6)
    assert coalescer.due_at == 100.75, "the interval, for many"
    assert [tickets(batch) for batch in coalescer.take_due(100.75)] == [list(range(2, 2 * many))]
    assert coalescer.due_at == math.inf


def test_a_few_of_each_partition_leave_together_and_after_a_pause_at_once() -> None:
    coalescer = Coalescer[int](interval_s=0.25, beat_s=1.0)
    for partition, now_s in enumerate((100.1, 100.3, 100.7)):
        add(coalescer, 1, now_s, partition)
        assert len(coalescer.take_due(now_s)) == 1
        add(coalescer, 2, now_s, partition)
    assert coalescer.due_at == 101.0
    assert [batch.partition for batch in coalescer.take_due(101.0)] == [0, 1, 2]
    add(coalescer, 3, 102.5)
    assert [tickets(batch) for batch in coalescer.take_due(102.5)] == [[3]]


def test_a_message_that_makes_a_block_of_many_does_not_leave_it_to_the_next() -> None:
    coalescer = Coalescer[int](interval_s=0.25, beat_s=1.0)
    add(coalescer, 0, 100.5)
    coalescer.take_due(100.5)
    batch = coalescer.batch(0, 100.5)
    for n in range(MANY_BYTES // ROW_BYTES):
        batch.add(validated(), ids.origin_key(origin(1)), False, n + 1, "ann", n)
    assert coalescer.due_at == 101.0
    coalescer.hasten(batch)
    assert coalescer.due_at == 100.75


def test_a_full_block_does_not_wait() -> None:
    coalescer = Coalescer[int](interval_s=1, beat_s=1)
    add(coalescer, 0, 100.0)
    coalescer.take_due(100.0)
    for n in range(limits.BLOCK_EVENTS_MAX + 1):
        add(coalescer, n, 100.0)
    assert coalescer.due_at <= 100.0
    (full,) = coalescer.take_due(100.0)
    assert full.is_full
    assert len(full.encode(0).SerializeToString()) <= limits.BLOCK_BYTES_MAX
    assert coalescer.due_at == 101.0  # the rest waits for its interval


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.02)), max_size=60))
def test_every_event_leaves_exactly_once_with_its_partition(steps: list[tuple[int, float]]) -> None:
    coalescer = Coalescer[int](interval_s=0.005, beat_s=0.008)
    now, left = 0.0, list[tuple[int, int]]()
    for n, (partition, pause) in enumerate(steps):
        add(coalescer, n, now, partition)
        now += pause
        assert coalescer.due_at < math.inf
        for batch in coalescer.take_due(now):
            left += [(ticket, batch.partition) for ticket in tickets(batch)]
    while coalescer.due_at < math.inf:
        for batch in coalescer.take_due(max(now, coalescer.due_at)):
            left += [(ticket, batch.partition) for ticket in tickets(batch)]
    assert sorted(left) == [(n, partition) for n, (partition, _) in enumerate(steps)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(("poll/a", "poll/b")))))
def test_runs_tell_each_number_of_a_ticket_once_and_are_as_few_as_batches_of_it(
    steps: list[tuple[int, int, str]],
) -> None:
    batch: Batch[int] = Batch(0, 0.0)
    numbers = dict.fromkeys(range(3), 0)
    for ticket, count, topic in steps:
        for _ in range(count):
            numbers[ticket] += 1
            batch.add(validated(topic), bytes(16), False, numbers[ticket], "ann", ticket)
    told = [(run.ticket, seq) for run in batch.runs for seq in range(run.first, run.last + 1)]
    assert sorted(told) == [(ticket, n + 1) for ticket in numbers for n in range(numbers[ticket])]
    assert len(batch.runs) <= len(steps)
    kept = {place: entries[::2] for place, entries in batch.sections.items()}
    batch.keep(kept)
    told = [(run.ticket, seq) for run in batch.runs for seq in range(run.first, run.last + 1)]
    assert sorted(told) == sorted((ticket, seq) for entries in kept.values() for ticket, seq, *_ in entries)
    assert batch.count == len(told)


def test_a_block_says_all_that_its_rows_say() -> None:
    rows = [
        blocks.vote("ann", "a", origin(1), 1),
        blocks.score("ann", -5, origin(1), 2),
        blocks.vote("bob", "bc", origin(2, producer=True), 1),
        blocks.reaction("fire", 3, origin(2), 2),
        blocks.score("cy", 0, origin(2), 3),
        blocks.vote("bob", "c", origin(2, producer=True), 2, "heavy", weight=7),
        blocks.vote("cy", "c", origin(3), 1, "heavy"),
        blocks.row("metric/ping", "ann", origin(1), 3, value=-0.5),
        blocks.row("custom/words", "ann", origin(1), 4, payload=b"hi"),
        blocks.row("audience", "ann", origin(1), 5, value=1),
        blocks.reaction("clap", 1, origin(2), 4),
    ]
    events = decode(encode(rows, 1_800_000_000 * 10**9).SerializeToString()).content
    assert isinstance(events, DecodedEvents)
    found = []
    for section, start, past in zip(events.sections, events.starts, events.starts[1:], strict=False):
        kind = section.topic.partition("/")[0]
        value = events.value[start:past].view("<f8" if kind == "metric" else "<i8").tolist()
        label = np.frombuffer(section.label, dtype="<u2").tolist()
        weight = np.frombuffer(section.weight, dtype="<u4").tolist()
        for n in range(section.rows):
            at = 16 * int(events.origin[start + n])
            producer = at >= len(events.viewers)
            key = (events.viewers + events.producers)[at : at + 16]
            found.append(
                blocks.row(
                    section.topic,
                    events.names.names[events.actor[start + n]],
                    ids.origin_of(key, producer=producer),
                    int(events.origin_seq[start + n]),
                    value=value[n],
                    label=section.labels.split("\n")[label[n]] if label else "",
                    weight=weight[n] if weight else 0,
                    payload=section.payloads[n] if section.payloads else b"",
                )
            )
    assert sorted(found) == sorted(row._replace(weight=row.weight or ("heavy" in row.topic)) for row in rows)
