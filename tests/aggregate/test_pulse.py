"""Pulses equal a naive count of totals and event-time panes; late reactions correct panes or show as late."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.fold import FoldState
from aggregate.pulse import Pulse
from grandstand.aggregate.v1.aggregate_pb2 import PulseResult
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.merge.pulse import merge_pulse
from tests.support.folding import NOW_S, NOW_US, Blocked, Told, check_stores, folded, histories, split

LATENESS_US = aggregate_bounds.LATENESS_S * 1_000_000
REACTIONS = st.builds(
    Told,
    actor=st.sampled_from("abcdefgh"),
    value=st.sampled_from(
        [1, 1, 2, wire_bounds.REACTION_COUNT_MAX, 0, -1, wire_bounds.REACTION_COUNT_MAX + 1]
    ),
    label=st.sampled_from(["fire", "clap", "wow"]),
)
HISTORIES = histories(REACTIONS, span_s=400)


def make(state: FoldState) -> Pulse:
    return Pulse.from_state(catalog.Pulse(pulse_id="x", kinds=["clap", "fire", "wow"]), state)


def naive(blocks: list[Blocked]) -> tuple[Counter[str], int, dict[tuple[int, int], Counter[str]]]:
    """Totals, late, and panes by width and start, counted one reaction at a time."""
    totals: Counter[str] = Counter()
    panes: dict[tuple[int, int], Counter[str]] = {}
    watermark_us = late = 0
    for block in blocks:
        fine = [e for e in block.events if 1 <= e.value <= wire_bounds.REACTION_COUNT_MAX]
        for event in fine:
            totals[event.label] += int(event.value)
            if block.at_us < watermark_us - LATENESS_US:
                late += int(event.value)
                continue
            for width_s in (1, 10, 60):
                start_s = block.at_us // 1_000_000 - block.at_us // 1_000_000 % width_s
                panes.setdefault((width_s, start_s), Counter())[event.label] += int(event.value)
        if fine:
            watermark_us = max(watermark_us, block.at_us)
    kept = {
        (width_s, start_s): counts
        for (width_s, start_s), counts in panes.items()
        if watermark_us // 1_000_000 // width_s - start_s // width_s < limits.PULSE_PANES_KEPT[width_s]
    }
    return totals, late, kept


def read(result: PulseResult) -> tuple[Counter[str], int, dict[tuple[int, int], Counter[str]]]:
    kinds = [rate.kind for rate in result.kinds]
    panes = {
        (pane.width_s, pane.starts_at.ToSeconds()): +Counter(dict(zip(kinds, pane.counts, strict=True)))
        for pane in result.panes
    }
    assert list(panes) == sorted(panes)
    return Counter({rate.kind: rate.total for rate in result.kinds}), result.late, panes


@given(HISTORIES)
def test_a_pulse_equals_a_naive_count(blocks: list[Blocked]) -> None:
    partial = folded(make, blocks).partial()
    kept = Counter(pane.width_s for pane in partial.panes)
    assert all(count <= limits.PULSE_PANES_KEPT[width_s] for width_s, count in kept.items())
    assert read(merge_pulse([partial], NOW_S, full=True)) == naive(blocks)


@given(HISTORIES, st.sets(st.integers(0, 11)), st.integers(0, 12))
def test_stored_state_and_later_changes_are_the_pulse(
    blocks: list[Blocked], flushed_after: set[int], taken_at: int
) -> None:
    check_stores(make, blocks, flushed_after, taken_at)


@given(HISTORIES, st.integers(1, 4))
def test_partitions_merge_into_one_count_of_all(blocks: list[Blocked], shares: int) -> None:
    watermark_us = 0
    in_time = []
    for block in blocks:
        if block.at_us >= watermark_us - LATENESS_US:
            in_time.append(block)
            watermark_us = max(watermark_us, block.at_us)
    parts = [folded(make, share).partial() for share in split(in_time, shares)]
    one = folded(make, in_time).partial()
    for full in (False, True):
        assert merge_pulse(parts, NOW_S + 7, full=full) == merge_pulse([one], NOW_S + 7, full=full)


@given(HISTORIES, st.integers(1, 4))
def test_what_is_late_in_one_partition_only_is_in_the_totals_all_the_same(
    blocks: list[Blocked], shares: int
) -> None:
    """Each partition has its own watermark: only what is late there is late."""
    parts = [folded(make, share).partial() for share in split(blocks, shares)]
    merged = merge_pulse(parts, NOW_S, full=True)
    totals, late, _ = naive(blocks)
    assert read(merged)[0] == totals
    assert merged.late <= late


def test_a_late_reaction_corrects_a_pane_that_was_already_shown_and_a_later_one_is_told_as_late() -> None:
    blocks = [
        Blocked(NOW_US, (Told("a", 1, "fire"),)),
        Blocked(NOW_US + LATENESS_US, (Told("a", 1, "fire"),)),
    ]
    shown = read(merge_pulse([folded(make, blocks).partial()], NOW_S + 4, full=True))
    assert shown[2][1, NOW_S] == Counter(fire=1)
    blocks.append(Blocked(NOW_US, (Told("b", 5, "fire"),)))
    corrected = read(merge_pulse([folded(make, blocks).partial()], NOW_S + 4, full=True))
    assert corrected[2][1, NOW_S] == Counter(fire=6)
    assert corrected[1] == 0
    blocks.append(Blocked(NOW_US - 1, (Told("b", 7, "fire"),)))
    late = merge_pulse([folded(make, blocks).partial()], NOW_S + 4, full=True)
    assert late.late == 7
    assert late.kinds[0].total == 14
    assert read(late)[2] == corrected[2]


def test_a_subscription_sees_the_running_pane_and_the_one_before_it_of_each_width() -> None:
    start_s = NOW_S // 60 * 60
    blocks = [Blocked((start_s + s) * 1_000_000, (Told("a", 1, "fire"),)) for s in range(150)]
    partial = folded(make, blocks).partial()
    shown = merge_pulse([partial], start_s + 149.5)
    assert [(p.width_s, p.starts_at.ToSeconds() - start_s, list(p.counts)) for p in shown.panes] == [
        (1, 148, [1]),
        (1, 149, [1]),
        (10, 130, [10]),
        (10, 140, [10]),
        (60, 60, [60]),
        (60, 120, [30]),
    ]
    assert Counter(pane.width_s for pane in partial.panes) == {1: 30, 10: 15, 60: 3}
    kept = merge_pulse([partial], start_s + 149.5, full=True)
    assert len(kept.panes) == len(partial.panes)


def test_a_pane_that_one_partition_has_let_go_is_not_shown_with_what_the_others_counted() -> None:
    blocks = [Blocked(NOW_US, (Told("a", 1, "fire"), Told("b", 1, "fire")))]
    behind = folded(make, blocks).partial()
    ahead = folded(make, [*blocks, Blocked(NOW_US + 30_000_000, (Told("c", 1, "fire"),))]).partial()
    shown = read(merge_pulse([behind, ahead], NOW_S + 30, full=True))[2]
    assert (1, NOW_S) not in shown
    assert shown[10, NOW_S] == Counter(fire=4)


def test_kinds_are_bounded_and_those_that_never_came_are_absent() -> None:
    blocks = [Blocked(NOW_US, tuple(Told("a", 1, f"k{i}") for i in range(aggregate_bounds.KINDS_MAX + 3)))]
    kinds = [rate.kind for rate in merge_pulse([folded(make, blocks).partial()], NOW_S).kinds]
    assert kinds == sorted(f"k{i}" for i in range(aggregate_bounds.KINDS_MAX))
    assert not merge_pulse([make(FoldState()).partial()], NOW_S).kinds
