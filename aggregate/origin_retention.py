"""Which origins leave a partition before their time, so that its anti-replay windows stay bounded. Pure (I7).

Overflow policy. Once the windows take more than ORIGINS_BYTES_HIGH, those that were issued first are to
leave, until the others take ORIGINS_BYTES_KEPT: all that were issued before one second, `from_s`. That
second is announced at once in the partition's status, and holds ORIGINS_NOTICE_S later by the partition's
time. Meanwhile ingest replaces such origins where they are resumed, ends the streams that have one, and
refuses what is relayed for one: their clients go on under new ones, and what was acked before is folded
before. If the windows would take more than ORIGINS_BYTES_MAX before that, they leave at once.

What holds at overflow. No event is ever counted twice: the time of issue is in the origin, and nothing of an
origin issued before `from_s` is admitted. An event that was acked is counted unless its ingest did not hear
of `from_s` in time, or the windows left at once; then it is set aside as a dead letter that says so, and is
not silently lost.

All is decided by what the stream holds and its time (I4), so every owner decides alike.

Rejected: the least recently used leaves first. Of an origin that is not known it could not be told whether it
left or is new, so a late resend would count twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aggregate import bounds


@dataclass(slots=True)
class OriginRetention:
    """Times are seconds: `next_at_s` of the partition's time, the others of origins' issue. 0: none."""

    from_s: int = 0
    """Origins issued before have left."""
    next_s: int = 0
    """Its next value, which is announced."""
    next_at_s: int = 0
    """From when on that holds."""

    @property
    def announced_s(self) -> int:
        """Origins issued before have left, or will soon."""
        return max(self.from_s, self.next_s)

    def step(self, at_s: int, taken_bytes: int, second_that_keeps: Callable[[int], int]) -> bool:
        """After a block, at the partition's time: whether `from_s` has changed. `second_that_keeps` is
        OriginWindows'."""
        if taken_bytes > bounds.ORIGINS_BYTES_MAX:
            self._leave(max(self.next_s, second_that_keeps(bounds.ORIGINS_BYTES_KEPT)))
            return True
        if self.next_s:
            if at_s < self.next_at_s:
                return False
            self._leave(self.next_s)
            return True
        if taken_bytes > bounds.ORIGINS_BYTES_HIGH:
            self.next_s = second_that_keeps(bounds.ORIGINS_BYTES_KEPT)
            self.next_at_s = at_s + bounds.ORIGINS_NOTICE_S
        return False

    def _leave(self, before_s: int) -> None:
        self.from_s = max(self.from_s, before_s)
        self.next_s = self.next_at_s = 0
