"""Metrics: count, min and max are exact, quantiles near the true ones, however measures are split."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.fold import FoldState
from aggregate.metric import Metric
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.internal.v1.internal_pb2 import MetricPartial
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.merge.metric import QUANTILES, merge_metric
from tests.support.folding import NOW_US, Blocked, Told, check_stores, folded, histories, split

VALUES = st.one_of(
    st.floats(),
    st.floats(-1e15, 1e15),
    st.floats(-100, 100),
    st.sampled_from([0.0, -0.0, 1e-9, -1e-9, 9e-10, 1e15, -1e15, 1.1e15, 5e-324, 1.0, 1.0]),
)
MEASURES = st.builds(Told, actor=st.sampled_from("abcdefgh"), value=VALUES)
HISTORIES = histories(MEASURES, span_s=5)


def make(state: FoldState) -> Metric:
    return Metric.from_state(catalog.Metric(metric_id="x", unit="ms"), state)


def measured(blocks: list[Blocked]) -> list[float]:
    """The values that count, in ascending order."""
    values = (e.value for block in blocks for e in block.events)
    return sorted(v for v in values if math.isfinite(v) and abs(v) <= wire_bounds.MEASURE_MAX)


@given(HISTORIES)
def test_a_metric_equals_the_sorted_values_within_its_error(blocks: list[Blocked]) -> None:
    values = measured(blocks)
    result = merge_metric([folded(make, blocks).partial()])
    assert result.count == len(values)
    assert result.relative_error == limits.METRIC_RELATIVE_ERROR
    if not values:
        assert not result.quantiles
        return
    assert (result.min, result.max) == (values[0], values[-1])
    rounding = 1e-14 * sum(map(abs, values))
    assert result.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=rounding)
    assert tuple(q.quantile for q in result.quantiles) == QUANTILES == (0.5, 0.9, 0.95, 0.99, 0.999)
    for told in result.quantiles:
        # Between the values to both sides of the rank; one nearer to zero than MEASURE_MIN is zero.
        rank = told.quantile * (len(values) - 1)
        near = [values[math.floor(rank)], values[math.ceil(rank)]]
        error = limits.METRIC_RELATIVE_ERROR * (1 + 1e-9)
        assert any(
            abs(told.value - true) <= max(error * abs(true), aggregate_bounds.MEASURE_MIN) for true in near
        ), (
            told,
            near,
        )


@given(HISTORIES, st.integers(1, 4))
def test_partitions_merge_into_one_sketch_of_all(blocks: list[Blocked], shares: int) -> None:
    parts = [folded(make, share).partial() for share in split(blocks, shares)]
    merged, one = merge_metric(parts), merge_metric([folded(make, blocks).partial()])
    rounding = 1e-14 * sum(map(abs, measured(blocks)))
    assert merged.mean == pytest.approx(one.mean, rel=1e-12, abs=rounding)
    merged.mean = one.mean
    assert merged == one


@given(HISTORIES, st.sets(st.integers(0, 11)), st.integers(0, 12))
def test_stored_state_and_later_changes_are_the_metric(
    blocks: list[Blocked], flushed_after: set[int], taken_at: int
) -> None:
    check_stores(make, blocks, flushed_after, taken_at)


@pytest.mark.parametrize("sign", [1, -1])
def test_measures_of_one_sign_have_their_own_min_and_max(sign: int) -> None:
    result = merge_metric(
        [folded(make, [Blocked(NOW_US, (Told("a", sign * 2.0), Told("a", sign * 3.0)))]).partial()]
    )
    assert sorted([sign * result.min, sign * result.max]) == [2, 3]


def test_partitions_without_a_measure_change_nothing() -> None:
    one = folded(make, [Blocked(NOW_US, (Told("a", 5.0),))]).partial()
    assert merge_metric([MetricPartial(), one, MetricPartial()]) == merge_metric([one])
    assert merge_metric([MetricPartial()]).count == 0


def test_what_is_no_measure_changes_nothing() -> None:
    fold = make(FoldState())
    for value in (math.nan, math.inf, -math.inf, 1.1e15, -1.1e15):
        from_outside = Blocked(NOW_US, (Told("a", value),))
        assert folded(make, [from_outside]).partial() == fold.partial()


def test_buckets_are_bounded_by_the_range_of_measures() -> None:
    """A sketch of a measure in every bucket is what a log can grow to."""
    values = []
    value = aggregate_bounds.MEASURE_MIN
    while value <= wire_bounds.MEASURE_MAX:
        values += [Told("a", value), Told("a", -value)]
        value *= 1.009
    partial = folded(
        make, [Blocked(NOW_US, tuple(values[i : i + 4_000])) for i in range(0, len(values), 4_000)]
    )
    stored = partial.partial()
    assert 2_700 < len(stored.positive_keys) == len(stored.negative_keys) < 2_800
    assert len(stored.SerializeToString()) < 32 * 1024
