"""What the workers of a process have folded, flushed and taken over, since it began. Pure.

Filled once a flush and once a lease, never once an event.
"""

from __future__ import annotations

from mesh.metrics.histogram import SIZES, Histogram

_GAIN = 1 / 8


class FoldCounts:
    def __init__(self) -> None:
        self.events = 0
        self.blocks = 0
        self.late = 0
        """Flushes that were stored more than half an interval after they were due."""
        self.flush_s = Histogram()
        self.flush_rows = Histogram(SIZES)
        self.leases = {"acquired": 0, "released": 0, "lost": 0}
        self.takeover_s = Histogram()
        self.events_per_block = 1.0
        """Of the blocks that were folded last, in whatever partition."""

    def flushed(
        self, events: int, blocks: int, rows: int, seconds: float, *, is_late: bool, traceparent: str = ""
    ) -> None:
        """`seconds`: what Redis took."""
        self.events += events
        self.blocks += blocks
        self.late += is_late
        self.flush_s.observe(seconds, traceparent)
        self.flush_rows.observe(rows)
        if blocks:
            self.events_per_block += _GAIN * (events / blocks - self.events_per_block)

    def waiting_events(self, blocks: int) -> float:
        """Estimates the number of events in `blocks` blocks."""
        return blocks * self.events_per_block
