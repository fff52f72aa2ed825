"""Whether a partition can be folded and stored, as its owner's round trips prove it. Pure.

It outlives the owner's sessions: who cannot take the partition over, or loses it again and again, knows why.
Of a dependency that is not asked just now nothing is said: while Redis is away nobody asks for blocks.
`now_s` is seconds of a clock that never jumps.
"""

from __future__ import annotations

from aggregate import bounds
from mesh import disk
from mesh.health.check import Check


class Dependency:
    """A check that is silent unless the last round trip failed."""

    def __init__(self, name: str) -> None:
        self._check = Check(name, bounds.PROVEN_S)
        self._fails = False

    def begin(self, now_s: float) -> None:
        self._check.begin(now_s)

    def proved(self, now_s: float) -> None:
        self._check.proved(now_s)
        self._fails = False

    def failed(self, reason: str, now_s: float) -> None:
        """`reason`: empty if there was no answer."""
        self._check.failed(disk.worded(reason), now_s)
        self._fails = True

    def problem(self, now_s: float) -> str:
        """Its name and why it is not well; "" while it is."""
        problem = self._check.problem(now_s) if self._fails else ""
        return f"{self._check.name}: {problem}" if problem else ""


class PartitionHealth:
    """Of a partition that is folded by this process, or that this process tries to fold."""

    def __init__(self) -> None:
        self.redis = Dependency("Redis")
        self.events = Dependency("the event stream")
        self.unusable = ""
        """Why the state cannot be made: no dependency is to blame."""

    def begin(self, now_s: float) -> None:
        self.redis.begin(now_s)
        self.events.begin(now_s)

    def problem(self, now_s: float) -> str:
        """For a person; "" while it is well."""
        if self.unusable:
            return self.unusable
        said = (self.redis.problem(now_s), self.events.problem(now_s))
        return "; ".join(problem for problem in said if problem)
