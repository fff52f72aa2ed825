"""A histogram in plain integers, with an exemplar for each bucket. Pure.

It is filled once a block, a flush, a call or a round trip, never once an event. An observation is noted, and
put into its bucket with FRESH_MAX others, or once somebody reads: 0.1 µs instead of 0.3.

Bound: FRESH_MAX noted observations, a count and an exemplar for each bucket. An exemplar is the trace of the
newest sampled observation.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

FRESH_MAX = 512
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = tuple(4.0**power for power in range(9))
"""Of rows and events: 1 to 65,536."""

_SAMPLED = frozenset("13579bdf")
"""The last digit of the flags of a W3C traceparent that is sampled."""


class Histogram:
    """`bounds`: the inclusive upper bounds of the buckets, ascending; one more takes what is above."""

    __slots__ = ("_counts", "_fresh", "_sum", "bounds", "exemplars")

    def __init__(self, bounds: Sequence[float] = LATENCIES_S) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._fresh: list[float] = []
        self.exemplars: dict[int, tuple[float, str]] = {}
        """By bucket: a value and its traceparent."""

    def observe(self, value: float, traceparent: str = "") -> None:
        """`traceparent`: the trace that the value belongs to; "" for none."""
        fresh = self._fresh
        fresh.append(value)
        if len(fresh) >= FRESH_MAX:
            self._settle()
        if traceparent and traceparent[-1] in _SAMPLED:
            self.exemplars[bisect_left(self.bounds, value)] = value, traceparent

    @property
    def counts(self) -> Sequence[int]:
        """Of each bucket alone."""
        self._settle()
        return self._counts

    @property
    def sum(self) -> float:
        self._settle()
        return self._sum

    @property
    def count(self) -> int:
        return sum(self.counts)

    def _settle(self) -> None:
        fresh, counts = self._fresh, self._counts
        self._sum += math.fsum(fresh)
        fresh.sort()
        before = 0
        for at, bound in enumerate(self.bounds):
            reached = bisect_right(fresh, bound, before)
            counts[at] += reached - before
            before = reached
        counts[-1] += len(fresh) - before
        fresh.clear()
