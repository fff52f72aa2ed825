"""Percentiles of any number of durations in bounded memory. Pure.

Logarithmic buckets, each 2 % wider than the one before, from 10 µs to ten minutes: some 900
counters, and a percentile is right within 1 %. Rejected: keeping every sample (no bound) and
reservoir sampling (poor where it matters, at the tail). As HdrHistogram, only smaller.
"""

from __future__ import annotations

import math

LOWEST_S = 1e-5
HIGHEST_S = 600.0
GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)
_BUCKETS = math.ceil(math.log(HIGHEST_S / LOWEST_S) / _LOG_GROWTH) + 1


class Latencies:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.max_s = 0.0

    def add(self, duration_s: float) -> None:
        """Counts one duration; those out of range count in the first or the last bucket."""
        at = 0 if duration_s <= LOWEST_S else math.ceil(math.log(duration_s / LOWEST_S) / _LOG_GROWTH)
        self._buckets[min(at, _BUCKETS - 1)] += 1
        self.count += 1
        self.max_s = max(self.max_s, duration_s)

    def percentile_s(self, percent: float) -> float | None:
        """The duration that `percent` of all do not exceed; None when there are none."""
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for at, count in enumerate(self._buckets):
            seen += count
            if seen >= rank:
                middle_s = LOWEST_S * math.exp((at - 0.5) * _LOG_GROWTH)
                return min(middle_s, self.max_s)
        return self.max_s

    def percentile_ms(self, percent: float) -> float | None:
        """As `percentile_s`, in milliseconds with two decimals."""
        found = self.percentile_s(percent)
        return None if found is None else round(found * 1000, 2)
