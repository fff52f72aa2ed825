"""The fold of measures: a DDSketch, and count, sum, min and max.

The sketch is the `ddsketch` library's in all that needs thought: its mapping gives each value's
bucket, its stores read the quantiles (see mesh.merge.metric). In between it is a count for each
bucket, so that sketches add up exactly, in any split and any order.

Bounds: |value| <= MEASURE_MAX, and what is nearer to zero than MEASURE_MIN counts as zero: some
2,800 buckets of either sign at most. Other values change nothing. No bucket is ever collapsed,
because what is collapsed depends on the order.

`sum` is rounded once for each block; that alone may differ in its last bits between splits.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from aggregate import bounds
from aggregate.fold import Change, FoldState, Replace
from aggregate.rows import Rows
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.internal.v1.internal_pb2 import MetricPartial
from grandstand.wire import bounds as wire_bounds
from mesh.merge.metric import MAPPING

_PART = ""


class Metric:
    """State: how many values each bucket holds, by key, for either sign; how many are zero."""

    __slots__ = ("_changed", "_count", "_max", "_min", "_negative", "_positive", "_sum", "_zeros")

    def __init__(self, stored: MetricPartial) -> None:
        self._count = stored.count
        self._sum = stored.sum
        self._min = stored.min if stored.count else math.inf
        self._max = stored.max if stored.count else -math.inf
        self._zeros = stored.zeros
        self._positive: Counter[int] = Counter(
            dict(zip(stored.positive_keys, stored.positive_counts, strict=True))
        )
        self._negative: Counter[int] = Counter(
            dict(zip(stored.negative_keys, stored.negative_counts, strict=True))
        )
        self._changed = False

    @classmethod
    def from_state(cls, definition: catalog.Metric, state: FoldState) -> Metric:
        return cls(MetricPartial.FromString(state.logs.get(_PART, b"")))

    def fold(self, rows: Rows) -> bool:
        values = rows.value.view(np.float64)
        # False for what is not a number. Adding zero makes -0.0 the 0.0 it equals.
        values = values[np.abs(values) <= wire_bounds.MEASURE_MAX] + 0.0
        if not len(values):
            return False
        self._count += len(values)
        self._sum = math.fsum([self._sum, *values.tolist()])
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))
        above, below = values[values >= bounds.MEASURE_MIN], values[values <= -bounds.MEASURE_MIN]
        self._zeros += len(values) - len(above) - len(below)
        self._positive.update(map(MAPPING.key, above.tolist()))
        self._negative.update(map(MAPPING.key, (-below).tolist()))
        self._changed = True
        return True

    def advance(self, at_us: int) -> bool:
        return False

    def partial(self) -> MetricPartial:
        positive, negative = sorted(self._positive.items()), sorted(self._negative.items())
        return MetricPartial(
            count=self._count,
            sum=self._sum,
            min=self._min if self._count else 0.0,
            max=self._max if self._count else 0.0,
            zeros=self._zeros,
            positive_keys=[key for key, _ in positive],
            positive_counts=[count for _, count in positive],
            negative_keys=[key for key, _ in negative],
            negative_counts=[count for _, count in negative],
        )

    def parts(self) -> list[str]:
        return [_PART]

    def delta(self) -> list[Change]:
        changes = self.encode() if self._changed else []
        self._changed = False
        return changes

    def encode(self) -> list[Change]:
        return [Replace(_PART, self.partial().SerializeToString(deterministic=True))]
