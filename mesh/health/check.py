"""One dependency as its round trips prove it. Pure: `now_s` comes in, seconds of a clock that never jumps.

Well means proven within the last `bound_s`. A failure alone says nothing, for the next try may succeed: it
only names the reason once the bound has passed. So a busy machine, whose proofs come late but come, is well,
and an answer of yes does not flap.
"""

from __future__ import annotations

from mesh.metrics.histogram import Histogram

REASON_CHARACTERS_MAX = 300


class Check:
    """`bound_s`: how old the newest proof may be; `silence_s`: if nothing was refused since, `bound_s` by
    default. With a short bound that is longer: a busy process that has not looked was refused nothing."""

    def __init__(
        self, name: str, bound_s: float, silence_s: float = 0.0, *, is_round_trip: bool = True
    ) -> None:
        """`is_round_trip`: not merely a look at what the process knows already."""
        assert bound_s > 0
        self.is_round_trip = is_round_trip
        self.seconds = Histogram()
        """Of its round trips, and how many of them failed: for who reads metrics."""
        self.failures = 0
        self._silence_s = max(bound_s, silence_s)
        self.name = name
        self.bound_s = bound_s
        self._proved_s: float | None = None
        self._began_s: float | None = None
        self._reason = ""

    def begin(self, now_s: float) -> None:
        """The bound runs from here until the first proof. Called by the others where it was not."""
        if self._began_s is None:
            self._began_s = now_s

    def proved(self, now_s: float) -> None:
        """A round trip that began at most `bound_s` ago succeeded."""
        self.begin(now_s)
        self._proved_s = now_s
        self._reason = ""

    def failed(self, reason: str, now_s: float) -> None:
        """A round trip failed. `reason`: what the dependency said; empty for one that did not answer."""
        self.begin(now_s)
        self._reason = reason

    def is_decided(self, now_s: float) -> bool:
        """It was proven once, or has had `bound_s` for it."""
        return self._proved_s is not None or self.problem(now_s) != ""

    def problem(self, now_s: float) -> str:
        """Why it is not well, for a person; empty while it is, and before the first proof is due."""
        self.begin(now_s)
        assert self._began_s is not None
        since_s = self._began_s if self._proved_s is None else self._proved_s
        age_s = now_s - since_s
        if age_s <= (self.bound_s if self._reason else self._silence_s):
            return ""
        return self._reason[:REASON_CHARACTERS_MAX] or f"did not answer for {age_s:.0f} s"

    def stalled(self, gap_s: float, now_s: float) -> None:
        """This process stood still for so long: no dependency could prove anything to it meanwhile."""
        if self._began_s is not None:
            self._began_s = min(now_s, self._began_s + gap_s)
        if self._proved_s is not None:
            self._proved_s = min(now_s, self._proved_s + gap_s)
