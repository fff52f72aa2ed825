"""What a process keeps of its spans: a ring of the newest, and a bound on those made after the fact. Pure.

Head sampling decides at the edge, by a share, before anything is known of a call. The tail rule adds what
turned out slow or failed: the process that finds it so makes the span then, from the times it took anyway.
What it cannot bring back are spans of the same call elsewhere, which were not made: such a span stands
alone, or has as its parent the one that the edge did not keep. Whether a call is slow is judged by each
process for its own part; no process waits for the verdict of another.

Bounds: RECENT_MAX spans of a process in memory, the oldest give way. LATE_PER_S spans after the fact a second
and as many at once; the others are counted.
"""

from __future__ import annotations

import json
from collections import deque

from mesh.tracing.record import SpanRecord

RECENT_MAX = 512
SLOW_S = 0.25
"""From here on a block's publish, a flush and a Send are slow: some ten times what they take."""
LATE_PER_S = 10.0


class KeptSpans:
    """`service`, `instance`: of this process."""

    def __init__(self, service: str, instance: str) -> None:
        self._service = service
        self._instance = instance
        self._recent: deque[SpanRecord] = deque(maxlen=RECENT_MAX)
        self._may = LATE_PER_S
        self._at_s = 0.0
        self.left_out = 0
        """Spans after the fact that were beyond the bound, since the start."""

    def add(self, span: SpanRecord) -> None:
        self._recent.append(span)

    def may_add_late(self, now_s: float) -> bool:
        """Whether one more span may be made after the fact. `now_s`: monotonic."""
        self._may = min(LATE_PER_S, self._may + (now_s - self._at_s) * LATE_PER_S)
        self._at_s = now_s
        if self._may < 1.0:
            self.left_out += 1
            return False
        self._may -= 1.0
        return True

    def page(self) -> bytes:
        """All of them, the oldest first, as JSON."""
        of = {"service": self._service, "instance": self._instance}
        spans = [of | span.as_json() for span in self._recent]
        return json.dumps({"spans": spans, "left_out": self.left_out}).encode() + b"\n"
