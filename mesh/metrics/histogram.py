"""A histogram in plain integers, with an exemplar for each bucket. Pure.

It is filled once a block, a flush, a call or a round trip, never once an event: an observation costs 0.3 µs.

Bound: a count and an exemplar for each bucket. An exemplar is the trace of the newest sampled observation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = tuple(4.0**power for power in range(9))
"""Of rows and events: 1 to 65,536."""

_SAMPLED = frozenset("13579bdf")
"""The last digit of the flags of a W3C traceparent that is sampled."""


class Histogram:
    """`bounds`: the inclusive upper bounds of the buckets, ascending; one more takes what is above."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCIES_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone."""
        self.sum = 0.0
        self.exemplars: dict[int, tuple[float, str]] = {}
        """By bucket: a value and its traceparent."""

    def observe(self, value: float, traceparent: str = "") -> None:
        """`traceparent`: the trace that the value belongs to; "" for none."""
        at = bisect_left(self.bounds, value)
        self.counts[at] += 1
        self.sum += value
        if traceparent and traceparent[-1] in _SAMPLED:
            self.exemplars[at] = value, traceparent

    @property
    def count(self) -> int:
        return sum(self.counts)
