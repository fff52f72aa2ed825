"""How many frames this gateway has sent, to whatever cohort, since it began. Pure.

Counted once a tick and cohort, never once a viewer. It outlives the cohorts, which come and go.
"""

from __future__ import annotations


class FrameCounts:
    __slots__ = ("conflated", "late_turns", "renditions", "snapshots", "ticks", "updates")

    def __init__(self) -> None:
        self.ticks = 0
        self.late_turns = 0
        """Turns of the tick wheel that came more than a tick late."""
        self.updates = 0
        self.snapshots = 0
        self.conflated = 0
        """Updates that found a viewer without room: it is shown them later, with what came meanwhile."""
        self.renditions = 0
        """Changes of a cohort's rate."""
