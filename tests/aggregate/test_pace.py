"""Partitions of a process are due together, and less often while the process cannot keep up."""

from __future__ import annotations

import pytest

from aggregate import bounds
from aggregate.pace import FlushPace

INTERVAL_S, BEAT_S = bounds.FLUSH_INTERVAL_S, bounds.FLUSH_BEAT_S


def test_partitions_that_were_flushed_one_after_the_other_are_due_together() -> None:
    pace = FlushPace()
    due = {round(pace.due_at(10.0 + 0.0009 * (n + 1)), 9) for n in range(5)}
    assert len(due) == 1
    for flushed_at_s in (10.0, 10.0011, 10.0049):
        assert INTERVAL_S - BEAT_S - 1e-9 <= pace.due_at(flushed_at_s) - flushed_at_s <= INTERVAL_S + 1e-9


def test_the_interval_widens_while_flushes_are_late_up_to_a_bound_and_comes_back() -> None:
    pace, now_s = FlushPace(), 100.0

    def flush(late: float) -> None:
        nonlocal now_s
        for _ in range(40):
            now_s += pace.interval_s
            pace.flushed(late * pace.interval_s, now_s)

    flush(0.4)
    assert not pace.is_widened
    flush(1.5)
    assert pace.is_widened
    assert pace.interval_s == bounds.FLUSH_INTERVAL_MAX_S
    flush(0.3)
    assert pace.interval_s == bounds.FLUSH_INTERVAL_MAX_S, "half of it would not do"
    flush(0.1)
    assert pace.interval_s == pytest.approx(INTERVAL_S)
    assert not pace.is_widened


def test_a_pause_is_not_taken_for_overload() -> None:
    pace, now_s = FlushPace(), 100.0
    for at in range(600):
        now_s += INTERVAL_S / 16
        pace.flushed(0.06 if 16 < at <= 32 else 0.001, now_s)
        assert not pace.is_widened
