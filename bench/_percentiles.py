"""Percentiles of samples that are all kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def milliseconds(sorted_us: Sequence[int], percent: float) -> float:
    """The smallest sample that this many per cent of all do not exceed (the nearest rank); 0 of none."""
    if not sorted_us:
        return 0.0
    rank = -(-len(sorted_us) * percent // 100)
    return round(sorted_us[max(0, int(rank) - 1)] / 1000, 2)
