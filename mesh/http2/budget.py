"""How much of what costs us a peer may ask for: a token bucket. Pure."""

from __future__ import annotations


class Budget:
    """`burst` at once, `per_s` from then on. Policy: the caller ends whoever exceeds it."""

    __slots__ = ("_burst", "_left", "_per_s", "_since")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._since = 0.0

    def spend(self, cost: float, now: float) -> bool:
        """Whether there was as much left. `now`: monotonic seconds."""
        left = min(self._burst, self._left + (now - self._since) * self._per_s) - cost
        self._since = now
        self._left = left
        return left >= 0
