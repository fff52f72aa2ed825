"""A drain's plan: viewers leave in even batches, at a bearable rate, and all have left in time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from gateway.drain_plan import BATCHES_MAX, DrainPlan
from mesh import limits

ID_TYPES = (np.uint32, np.int64, np.uint64, np.int32)
plans = st.builds(
    lambda viewers, grace_s, seed: DrainPlan(viewers, grace_s, random.Random(seed).random),
    st.integers(0, 200_000),
    st.floats(0.0, 60.0),
    st.integers(),
)


@given(st.integers(0, 200_000), st.floats(0.0, 60.0), st.integers())
def test_every_stream_ends_after_it_was_told_to_and_within_the_grace(
    viewers: int, grace_s: float, seed: int
) -> None:
    plan = DrainPlan(viewers, grace_s, random.Random(seed).random)
    told = [plan.reconnect_after_s(batch) for batch in range(plan.batches)]
    ends = [plan.ends_after_s(batch) for batch in range(plan.batches)]
    assert told == sorted(told)
    assert ends == sorted(ends)
    assert all(0 <= t <= e <= grace_s + 1e-9 for t, e in zip(told, ends, strict=True))
    if grace_s > 3 * gateway_bounds.DRAIN_PATIENCE_S:
        assert told[0] >= gateway_bounds.DRAIN_HEAD_START_S
        assert all(e - t >= gateway_bounds.DRAIN_PATIENCE_S - 1e-9 for t, e in zip(told, ends, strict=True))


@given(plans, st.lists(st.integers(0, 2**31 - 1), max_size=50), st.sampled_from(ID_TYPES))
def test_an_array_of_ids_has_the_batches_that_its_ids_have(
    plan: DrainPlan, ids: list[int], id_type: type[np.integer]
) -> None:
    batches = plan.batch_of(np.array(ids, id_type))
    assert batches.tolist() == [plan.batch_of(stream_id) for stream_id in ids]
    assert all(0 <= batch < plan.batches for batch in batches)


@given(
    st.integers(1, 20_000),
    st.integers(1, 1_000_000),
    st.sampled_from([1, 2, 3, 5, 7, 10, 16, 50, 64, 100, 1_000]),
)
def test_batches_are_about_equal_also_when_only_every_so_manyth_stream_is_left(
    viewers: int, first: int, step: int
) -> None:
    plan = DrainPlan(viewers, limits.DRAIN_GRACE_S)
    ids = 2 * (first + step * np.arange(viewers)) + 1
    sizes = np.bincount(plan.batch_of(ids), minlength=plan.batches)
    mean = viewers / plan.batches
    assert sizes.max() <= 1.5 * mean + 3
    assert sizes.min() >= 0.5 * mean - 3


@pytest.mark.parametrize("viewers", [1, 10, 500, 5_000, 15_000])
def test_no_more_come_elsewhere_in_any_second_than_it_bears_if_the_grace_allows(viewers: int) -> None:
    plan = DrainPlan(viewers, 30.0, random.Random(3).random)
    ids = 2 * np.arange(viewers) + 1
    sizes = np.bincount(plan.batch_of(ids), minlength=plan.batches)
    at_s = np.array([plan.reconnect_after_s(batch) for batch in range(plan.batches)])
    for start_s in at_s:
        within = sizes[(at_s >= start_s) & (at_s < start_s + 1.0)].sum()
        assert within <= 1.1 * gateway_bounds.DRAIN_PER_S + sizes.max()
    assert plan.ends_after_s(plan.batches - 1) <= (
        gateway_bounds.DRAIN_HEAD_START_S
        + viewers / gateway_bounds.DRAIN_PER_S
        + gateway_bounds.DRAIN_PATIENCE_S
    )


def test_a_crowd_too_large_for_the_grace_uses_all_of_it_evenly() -> None:
    plan = DrainPlan(limits.VIEWERS_MAX, limits.DRAIN_GRACE_S)
    assert (
        plan.spread_s
        == limits.DRAIN_GRACE_S - gateway_bounds.DRAIN_PATIENCE_S - gateway_bounds.DRAIN_HEAD_START_S
    )
    delays = np.array([plan.reconnect_after_s(batch) for batch in range(plan.batches)])
    assert np.allclose(np.diff(delays), plan.spread_s / plan.batches)


def test_delays_lie_by_chance_within_their_share() -> None:
    one, other = (DrainPlan(5_000, 5.0, random.Random(seed).random) for seed in (1, 2))
    share_s = one.spread_s / one.batches
    pairs = [(one.reconnect_after_s(b), other.reconnect_after_s(b)) for b in range(one.batches)]
    assert all(a != b and abs(a - b) < share_s for a, b in pairs)


@pytest.mark.parametrize(("viewers", "batches"), [(0, 1), (1, 1), (5_000, 50), (10**9, 60)])
def test_how_many_batches(viewers: int, batches: int) -> None:
    assert DrainPlan(viewers, 5.0).batches == batches
    assert DrainPlan(viewers, 1e6).batches <= BATCHES_MAX
    assert DrainPlan(viewers, 0.0).ends_after_s(0) == 0.0


@pytest.mark.parametrize(("viewers", "grace_s"), [(-1, 5.0), (1, -1.0), (1, float("nan")), (1, float("inf"))])
def test_nonsense_is_refused(viewers: int, grace_s: float) -> None:
    with pytest.raises(ValueError, match="neither may be negative or infinite"):
        DrainPlan(viewers, grace_s)
