"""A quantile from the buckets of a histogram, as Prometheus's histogram_quantile has it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """`bounds`: inclusive upper ones, ascending, the last infinite; `counts`: cumulated. None of no values.

    Within a bucket values count as evenly spread. One that is above all finite bounds is said to be the
    greatest of them: it is at least that.
    """
    total = counts[-1] if counts else 0.0
    if not total > 0:
        return None
    rank = q * total
    at = next((i for i, count in enumerate(counts) if count >= rank), len(counts) - 1)
    if math.isinf(bounds[at]):
        return bounds[at - 1] if at else None
    below, lower = (counts[at - 1], bounds[at - 1]) if at else (0.0, 0.0)
    inside = counts[at] - below
    return lower + (bounds[at] - lower) * ((rank - below) / inside if inside else 1.0)
