"""Whether a partition can be folded and stored, as its owner's round trips prove it. Pure.

It outlives the owner's sessions: who cannot take the partition over, or loses it again and again, knows why.
`now_s` is seconds of a clock that never jumps.
"""

from __future__ import annotations

from aggregate import bounds
from mesh.health.check import Check


class PartitionHealth:
    """Of a partition that is folded by this process, or that this process tries to fold."""

    def __init__(self) -> None:
        self.redis = Check("Redis", bounds.PROVEN_S)
        self.events = Check("the event stream", bounds.PROVEN_S)
        self.unusable = ""
        """Why the state cannot be made: no dependency is to blame."""

    def begin(self, now_s: float) -> None:
        self.redis.begin(now_s)
        self.events.begin(now_s)

    def problem(self, now_s: float) -> str:
        """For a person; "" while it is well."""
        if self.unusable:
            return self.unusable
        said = ((check.name, check.problem(now_s)) for check in (self.redis, self.events))
        return "; ".join(f"{name}: {problem}" for name, problem in said if problem)
