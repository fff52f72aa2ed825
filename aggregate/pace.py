"""When the partitions of a process are flushed: together, and less often those that cost too much.

A partition that was idle is flushed as soon as something was folded; then it is flushed about every
`interval_s`, at the next of the moments FLUSH_BEAT_S apart that all partitions of the process share. So they
are due together, and what each turn of the event loop and each write to Redis costs is shared by them.

A flush is late by the time from when it was due, or its first block was there, until it is stored. Once
flushes are late by more than half an interval on the average, one after the other they take the whole of it,
and the process cannot keep up. A flush costs much the same however much is in it, so half as many bring more
through.

Fair between partitions: they share one event loop, so a noisy one makes its neighbours late. Not who is late
is flushed less often, but who caused it: the costliest partitions, as few as did half of the work together.
Their intervals double, up to FLUSH_INTERVAL_MAX_S; all halve again once that would do. So beside a partition
that does more than half of the work no other one's interval grows, and where all cost the same they are
flushed less often in turn. Within a partition blocks are folded in the order of the stream (I4), whatever
game they are of.

Pure; times are seconds of a clock that never jumps.
"""

from __future__ import annotations

import math

from aggregate import bounds

_WHILE = 8
"""Over this many intervals the average is taken."""
_LATE, _EARLY = 0.5, 0.125
"""Shares of an interval."""
_CAUSE = 0.5
"""Of the work: what the causes did together."""


class PartitionPace:
    """Of one partition, in whatever session of this process."""

    def __init__(self, process: FlushPace) -> None:
        self.interval_s = bounds.FLUSH_INTERVAL_S
        self.busy_s = self.late = 0.0
        """Since the last judgement: how long it held the event loop, and the sum of its flushes' lateness, in
        intervals."""
        self.flushes = 0
        self._process = process

    @property
    def is_widened(self) -> bool:
        return self.interval_s > bounds.FLUSH_INTERVAL_S

    def due_at(self, flushed_at_s: float) -> float:
        """When it is to be flushed again after a flush then; up to a beat less than an interval later."""
        due_s = flushed_at_s + self.interval_s - bounds.FLUSH_BEAT_S
        return math.ceil(due_s / bounds.FLUSH_BEAT_S) * bounds.FLUSH_BEAT_S

    def flushed(self, late_s: float, busy_s: float, now_s: float) -> None:
        """After each flush. `busy_s`: how long folding since the last one held the event loop."""
        self.late += late_s / self.interval_s
        self.busy_s += busy_s
        self.flushes += 1
        self._process.judge(now_s)

    def judged(self, late: float, is_cause: bool) -> None:
        """`late`: all flushes of the process on the average, in intervals."""
        if late > _LATE and is_cause:
            self.interval_s = min(2 * self.interval_s, bounds.FLUSH_INTERVAL_MAX_S)
        elif late < _EARLY:
            self.interval_s = max(self.interval_s / 2, bounds.FLUSH_INTERVAL_S)
        self.late, self.busy_s, self.flushes = 0.0, 0.0, 0


class FlushPace:
    """Of a process. Bound: one entry for each partition."""

    def __init__(self) -> None:
        self._paces: dict[int, PartitionPace] = {}
        self._judged_at_s = math.inf
        """When the averages were taken last; inf before the first flush."""

    def of(self, partition: int) -> PartitionPace:
        found = self._paces.get(partition)
        if found is None:
            found = self._paces[partition] = PartitionPace(self)
        return found

    @property
    def widest_s(self) -> float:
        """The longest interval of a partition."""
        return max((pace.interval_s for pace in self._paces.values()), default=bounds.FLUSH_INTERVAL_S)

    def judge(self, now_s: float) -> None:
        """Every _WHILE intervals."""
        self._judged_at_s = min(self._judged_at_s, now_s)
        if now_s < self._judged_at_s + _WHILE * self.widest_s:
            return
        self._judged_at_s = now_s
        paces = sorted(self._paces.values(), key=lambda pace: -pace.busy_s)
        left_s = _CAUSE * sum(pace.busy_s for pace in paces)
        late = sum(pace.late for pace in paces) / sum(pace.flushes for pace in paces)
        for pace in paces:
            is_cause = left_s > 0
            left_s -= pace.busy_s
            pace.judged(late, is_cause)
