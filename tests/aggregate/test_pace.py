"""Partitions of a process are due together, and those that cost too much are flushed less often."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate import bounds
from aggregate.pace import FlushPace

INTERVAL_S, BEAT_S = bounds.FLUSH_INTERVAL_S, bounds.FLUSH_BEAT_S
MOST_S = bounds.FLUSH_INTERVAL_MAX_S
PARTITIONS = 16
FLUSH_S, EVENT_S = 0.0002, 1e-6
QUIET, NOISY = 50.0, 0
NOISE_LASTS_S = 4.0


def test_partitions_that_were_flushed_one_after_the_other_are_due_together() -> None:
    pace = FlushPace().of(0)
    due = {round(pace.due_at(10.0 + 0.0009 * (n + 1)), 9) for n in range(5)}
    assert len(due) == 1
    for flushed_at_s in (10.0, 10.0011, 10.0049):
        assert INTERVAL_S - BEAT_S - 1e-9 <= pace.due_at(flushed_at_s) - flushed_at_s <= INTERVAL_S + 1e-9


def test_the_interval_widens_while_flushes_are_late_up_to_a_bound_and_comes_back() -> None:
    process, now_s = FlushPace(), 100.0
    pace = process.of(0)

    def flush(late: float) -> None:
        nonlocal now_s
        for _ in range(40):
            now_s += pace.interval_s
            pace.flushed(late * pace.interval_s, 0.001, now_s)

    flush(0.4)
    assert not pace.is_widened
    flush(1.5)
    assert pace.is_widened
    assert pace.interval_s == process.widest_s == MOST_S
    flush(0.3)
    assert pace.interval_s == MOST_S, "half of it would not do"
    flush(0.1)
    assert pace.interval_s == pytest.approx(INTERVAL_S)
    assert not pace.is_widened


def test_a_pause_is_not_taken_for_overload() -> None:
    process, now_s = FlushPace(), 100.0
    for at in range(600):
        now_s += INTERVAL_S / PARTITIONS
        process.of(at % PARTITIONS).flushed(0.06 if 16 < at <= 32 else 0.001, 0.001, now_s)
        assert process.widest_s == INTERVAL_S


FLUSHES = st.lists(
    st.tuples(st.integers(1, PARTITIONS - 1), st.floats(0, 3), st.floats(0, 0.02), st.floats(0, 0.05)),
    max_size=150,
)


@settings(max_examples=200)
@given(FLUSHES, st.booleans())
def test_no_other_partition_is_flushed_less_often_beside_one_that_does_most_of_the_work(
    flushes: list[tuple[int, float, float, float]], is_noisy: bool
) -> None:
    """Whoever is late, by however much: (partition, intervals late, busy for, time passed)."""
    process, now_s = FlushPace(), 0.0
    for partition, late, busy_s, passed_s in flushes:
        now_s += passed_s
        if is_noisy:
            process.of(NOISY).flushed(2 * INTERVAL_S, 0.05, now_s)
        pace = process.of(partition)
        pace.flushed(late * pace.interval_s, busy_s, now_s)
        assert {process.of(n).interval_s for n in range(PARTITIONS)} <= {INTERVAL_S, MOST_S / 2, MOST_S}
        if is_noisy:
            assert not any(process.of(n).is_widened for n in range(1, PARTITIONS))


def played(
    events_per_s: Callable[[int, float], float], for_s: float, flush_s: float = FLUSH_S
) -> tuple[list[list[float]], FlushPace]:
    """One event loop, and partitions that are flushed one after the other once they are due. By partition,
    how old its oldest event was at each flush; and the pace in the end."""
    process, now_s = FlushPace(), 100.0
    end_s = now_s + for_s
    flushed_at_s = [now_s] * PARTITIONS
    ages: list[list[float]] = [[] for _ in range(PARTITIONS)]
    while now_s < end_s:
        due_s = [process.of(n).due_at(at_s) for n, at_s in enumerate(flushed_at_s)]
        at = min(range(PARTITIONS), key=due_s.__getitem__)
        now_s = max(now_s, due_s[at])
        waited_s = now_s - flushed_at_s[at]
        cost_s = flush_s + EVENT_S * waited_s * events_per_s(at, now_s - 100.0)
        now_s += cost_s
        ages[at].append(now_s - flushed_at_s[at])
        flushed_at_s[at] = now_s
        process.of(at).flushed(now_s - due_s[at], cost_s, now_s)
    return ages, process


def test_a_noisy_partition_is_flushed_less_often_its_neighbours_as_ever_and_all_is_well_after_it() -> None:
    """It alone would take the whole of the loop, and keeps its neighbours from theirs."""

    def events_per_s(partition: int, at_s: float) -> float:
        return 880_000.0 if partition == NOISY and at_s < NOISE_LASTS_S else QUIET

    ages, process = played(events_per_s, NOISE_LASTS_S)
    assert process.of(NOISY).is_widened
    assert not any(process.of(n).is_widened for n in range(PARTITIONS) if n != NOISY)
    for of in ages[1:]:
        assert sorted(of)[len(of) // 2] < 2 * INTERVAL_S
    ages, process = played(events_per_s, 2 * NOISE_LASTS_S)
    assert process.widest_s == INTERVAL_S
    assert max(of[-1] for of in ages) <= INTERVAL_S + PARTITIONS * FLUSH_S


def test_partitions_that_are_too_dear_together_are_all_flushed_less_often_and_keep_up() -> None:
    """Each flush costs an eighth of an interval: 16 of them are twice what there is time for."""
    ages, process = played(lambda partition, at_s: QUIET, 6.0, INTERVAL_S / 8)
    assert sum(process.of(n).is_widened for n in range(PARTITIONS)) > PARTITIONS // 2
    for of in ages:
        assert max(of[-3:]) <= MOST_S + BEAT_S
