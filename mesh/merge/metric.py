"""Merging metrics: buckets of DDSketches add up, exactly; quantiles are read from the sum.

The mapping from values to buckets (the fold uses it too) and the reading of quantiles are the
`ddsketch` library's. A value and its bucket's are at most METRIC_RELATIVE_ERROR of the value
apart, so each quantile is that close to the true one. Min and max are exact, and bound the quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

from grandstand.aggregate.v1.aggregate_pb2 import MetricResult, Quantile
from grandstand.internal.v1.internal_pb2 import MetricPartial
from mesh import limits

MAPPING = LogarithmicMapping(limits.METRIC_RELATIVE_ERROR)
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


def merge_metric(partials: Sequence[MetricPartial]) -> MetricResult:
    """`partials` in the order of their partitions. Without a measure, all but the error is unset."""
    measured = [partial for partial in partials if partial.count]
    result = MetricResult(relative_error=limits.METRIC_RELATIVE_ERROR)
    if not measured:
        return result
    result.count = sum(partial.count for partial in measured)
    result.min = min(partial.min for partial in measured)
    result.max = max(partial.max for partial in measured)
    result.mean = math.fsum(partial.sum for partial in measured) / result.count
    sketch = BaseDDSketch(
        mapping=MAPPING,
        store=_store((p.positive_keys, p.positive_counts) for p in measured),
        negative_store=_store((p.negative_keys, p.negative_counts) for p in measured),
        zero_count=sum(p.zeros for p in measured),
    )
    for quantile in QUANTILES:
        value = sketch.get_quantile_value(quantile) or 0.0
        value = min(max(value, result.min), result.max)
        result.quantiles.append(Quantile(quantile=quantile, value=value))
    return result


def _store(columns: Iterable[tuple[Iterable[int], Iterable[int]]]) -> DenseStore:
    store = DenseStore()
    for keys, counts in columns:
        for key, count in zip(keys, counts, strict=True):
            store.add(key, count)
    return store
