"""Blocks leave on the leading edge, then at an interval or when full; nothing is lost on the way."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregate.block import DecodedEvents, decode
from ingest.coalesce import Coalescer, encode
from mesh import ids, limits
from tests import blocks
from tests.blocks import origin


def row(n: int, partition: int = 0):  # type: ignore[no-untyped-def]
    return blocks.vote(f"actor{n}", "a", origin(n % 7), n + 1, partition=partition)


def test_a_lone_event_leaves_at_once() -> None:
    coalescer = Coalescer[int]()
    coalescer.add(row(1), 1, 100.0)
    assert [batch.tickets for batch in coalescer.take_due(100.0)] == [[1]]


def test_events_that_follow_closely_leave_together() -> None:
    coalescer = Coalescer[int](interval_s=0.005)
    coalescer.add(row(1), 1, 100.0)
    coalescer.take_due(100.0)
    coalescer.add(row(2), 2, 100.0)
    coalescer.add(row(3), 3, 100.0)
    assert coalescer.take_due(100.001) == []
    assert coalescer.next_due_at() == 100.005
    assert [batch.tickets for batch in coalescer.take_due(100.005)] == [[2, 3]]
    assert coalescer.next_due_at() is None


def test_a_full_block_does_not_wait() -> None:
    coalescer = Coalescer[int](interval_s=1)
    coalescer.add(row(0), 0, 100.0)
    coalescer.take_due(100.0)
    for n in range(limits.BLOCK_EVENTS_MAX):
        coalescer.add(row(n), n, 100.0)
    (full,) = coalescer.take_due(100.0)
    assert full.is_full
    assert len(encode(full.rows, 0).SerializeToString()) <= limits.BLOCK_BYTES_MAX
    assert coalescer.next_due_at() == 101.0  # the rest waits for its interval


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.02)), max_size=60))
def test_every_event_leaves_exactly_once_with_its_partition(steps: list[tuple[int, float]]) -> None:
    coalescer = Coalescer[int](interval_s=0.005)
    now, left = 0.0, list[int]()
    for n, (partition, pause) in enumerate(steps):
        coalescer.add(row(n, partition), n, now)
        now += pause
        for batch in coalescer.take_due(now):
            assert {r.partition for r in batch.rows} == {batch.partition}
            left += batch.tickets
    while (due_at := coalescer.next_due_at()) is not None:
        for batch in coalescer.take_due(max(now, due_at)):
            left += batch.tickets
    assert sorted(left) == list(range(len(steps)))


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
