"""When to send: an open-loop schedule of a given rate. Pure.

Arrivals are Poisson, as those of a crowd of independent people are; a metronome would hide what
coalescing does to neighbours. Open loop: the schedule does not wait for answers, so a slow mesh
cannot slow its own load down and hide its latency. Bound: a sender that fell behind (or a mesh
that took its credit away) makes up for at most `debt_s` of schedule; what is older is dropped.
"""

from __future__ import annotations

from random import Random


class Pacer:
    """Says how many events are due. `rate_per_s` of 0 means none, ever."""

    def __init__(self, rate_per_s: float, start_s: float, random: Random, debt_s: float = 1.0) -> None:
        if rate_per_s < 0:
            raise ValueError(f"a rate of {rate_per_s}/s; 0 or more is needed")
        self._rate = rate_per_s
        self._random = random
        self._debt_s = debt_s
        self._next_s = start_s + self._gap_s() if rate_per_s else float("inf")

    @property
    def next_s(self) -> float:
        """When the next event is due; infinity when none ever is."""
        return self._next_s

    def due(self, now_s: float) -> int:
        """How many events are due at `now_s`; each is reported once."""
        if self._next_s < now_s - self._debt_s:
            self._next_s = now_s - self._debt_s
        count = 0
        while self._next_s <= now_s:
            count += 1
            self._next_s += self._gap_s()
        return count

    def _gap_s(self) -> float:
        return self._random.expovariate(self._rate)
