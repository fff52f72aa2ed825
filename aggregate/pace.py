"""When the partitions of a process are flushed: together, and less often while they are late.

A partition that was idle is flushed as soon as something was folded; then it is flushed about every
`interval_s`, at the next of the moments FLUSH_BEAT_S apart that all partitions of the process share. So they
are due together, and what each turn of the event loop and each write to Redis costs is shared by them.

A flush is late by the time from when it was due, or its first block was there, until it is stored. Once
flushes are late by more than half an interval on the average, one after the other they take the whole of it,
and the process cannot keep up: all intervals double, up to FLUSH_INTERVAL_MAX_S. A flush costs much the same
however much is in it, so half as many bring more through. They halve again once that would do. Pure; times
are seconds of a clock that never jumps.
"""

from __future__ import annotations

import math

from aggregate import bounds

_WHILE = 8
"""Over so many intervals the average is taken."""
_LATE, _EARLY = 0.5, 0.125
"""Shares of an interval."""


class FlushPace:
    """Shared by the sessions of a process."""

    def __init__(self) -> None:
        self.interval_s = bounds.FLUSH_INTERVAL_S
        self._late_s = 0.0
        self._flushes = 0
        self._judged_at_s = math.inf
        """When the average was taken last; inf before the first flush."""

    @property
    def is_widened(self) -> bool:
        return self.interval_s > bounds.FLUSH_INTERVAL_S

    def due_at(self, flushed_at_s: float) -> float:
        """When a partition that was flushed then is to be flushed again; up to a beat less than an interval
        later."""
        due_s = flushed_at_s + self.interval_s - bounds.FLUSH_BEAT_S
        return math.ceil(due_s / bounds.FLUSH_BEAT_S) * bounds.FLUSH_BEAT_S

    def flushed(self, late_s: float, now_s: float) -> None:
        """After each flush."""
        self._judged_at_s = min(self._judged_at_s, now_s)
        self._late_s += late_s
        self._flushes += 1
        if now_s < self._judged_at_s + _WHILE * self.interval_s:
            return
        share = self._late_s / self._flushes / self.interval_s
        if share > _LATE:
            self.interval_s = min(2 * self.interval_s, bounds.FLUSH_INTERVAL_MAX_S)
        elif share < _EARLY:
            self.interval_s = max(self.interval_s / 2, bounds.FLUSH_INTERVAL_S)
        self._judged_at_s, self._late_s, self._flushes = now_s, 0.0, 0
