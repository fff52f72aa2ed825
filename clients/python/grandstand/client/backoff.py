"""How long to wait before the next attempt: exponential, with full jitter.

Full jitter (uniform between nothing and the ceiling) is chosen over equal jitter because many
clients lose their streams in the same instant, when a process dies: their retries must not
come back as one wave. See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """The ceiling of attempt n is base_s * 2**n, at most cap_s."""

    base_s: float = 0.1
    cap_s: float = 2.0

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait after `attempt` failures in a row, from 0."""
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))

    def delay_s(self, attempt: int, random: Random) -> float:
        """Seconds to wait after `attempt` failures in a row: uniform between 0 and `ceiling_s(attempt)`."""
        return random.uniform(0.0, self.ceiling_s(attempt))
