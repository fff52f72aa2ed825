"""How fast an error budget is spent, over windows of five minutes to three days. Pure.

A burn rate of 1 spends the budget of a period in just that period. Votes that were not sent count as good: a
canary that has just started, or did not measure for a while, then needs as many bad votes as any other, and
one bad vote among its first ten is no alarm.

Bound: a ring of buckets for each resolution, STEPS in all, whatever is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.canary.objectives import VOTES_A_SECOND, WINDOWS_S, Objective

_RINGS = ((10.0, 3_600.0), (300.0, 259_200.0))
"""Width of a bucket, and how far back the ring reaches: the first that reaches far enough is asked."""
STEPS = sum(int(span_s / width_s) + 1 for width_s, span_s in _RINGS)


class BucketRing:
    """Counts of the last `span_s`, in buckets of `width_s`. `now_s`: a clock that never goes back."""

    def __init__(self, width_s: float, span_s: float) -> None:
        self.span_s = span_s
        self._width_s = width_s
        self._counts = [0] * (int(span_s / width_s) + 1)
        self._newest = 0

    def add(self, count: int, now_s: float) -> None:
        self._turn(now_s)
        self._counts[self._newest % len(self._counts)] += count

    def total(self, window_s: float, now_s: float) -> int:
        """Of the last `window_s`, and at most a bucket more."""
        self._turn(now_s)
        buckets = min(int(window_s / self._width_s) + 1, len(self._counts))
        return sum(self._counts[(self._newest - back) % len(self._counts)] for back in range(buckets))

    def _turn(self, now_s: float) -> None:
        """Empties the buckets that began since."""
        newest = int(now_s / self._width_s)
        for at in range(max(self._newest + 1, newest - len(self._counts) + 1), newest + 1):
            self._counts[at % len(self._counts)] = 0
        self._newest = max(self._newest, newest)


class BurnRates:
    """Of one objective."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.good = 0
        self.bad = 0
        self._bad = [BucketRing(width_s, span_s) for width_s, span_s in _RINGS]

    def count(self, *, is_good: bool, now_s: float) -> None:
        if is_good:
            self.good += 1
            return
        self.bad += 1
        for ring in self._bad:
            ring.add(1, now_s)

    def over(self, window_s: float, now_s: float) -> float:
        """At most the longest of WINDOWS_S."""
        ring = next(ring for ring in self._bad if ring.span_s >= window_s)
        return ring.total(window_s, now_s) / (window_s * VOTES_A_SECOND) / self.objective.budget

    def by_window(self, now_s: float) -> Mapping[str, float]:
        return {name: self.over(window_s, now_s) for name, window_s in WINDOWS_S.items()}
