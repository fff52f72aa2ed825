"""Histograms: buckets by their upper bounds, and exemplars of sampled traces alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.metrics.histogram import LATENCIES_S, Histogram

SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


@given(st.lists(st.floats(0, 100)))
def test_each_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    reached = 0
    for at, bound in enumerate(LATENCIES_S):
        reached += histogram.counts[at]
        assert reached == sum(value <= bound for value in values)
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(sum(values))


def test_a_bucket_keeps_the_newest_sampled_trace() -> None:
    histogram = Histogram((1.0, 2.0))
    for value, traceparent in ((0.5, SAMPLED), (0.6, UNSAMPLED), (0.7, ""), (9.0, SAMPLED)):
        histogram.observe(value, traceparent)
    assert histogram.exemplars == {0: (0.5, SAMPLED), 2: (9.0, SAMPLED)}
