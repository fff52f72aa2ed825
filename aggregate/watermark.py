"""A partition's time, a pure function of its stream (I4).

It is bounded by two clocks that may each be wrong: the stream leader's, which says when a block was
stored, and those of the senders, whose newest stamp so far it passes by CLOCK_BOUND_S at most. It
never goes back. So neither a sender nor a leader whose clock is ahead moves it far by itself, and a
leader whose clock is behind (the stream's leader moved) holds it where it is.

It alone begins and ends seasons and takes polls and boards to their seal. What happened in a block
happened at the block's stamp, clamped to [watermark - PUBLISH_DEADLINE_S, watermark]: a block that
was acked is no older, whatever its sender's clock says. A season is sealed SEAL_GRACE_S after its
end, which is longer, so no event ever belongs to a sealed one.

Rejected: the lesser of stamp and stored time, block by block. It goes back and forth with the
clocks, and drops what a slow sender stamps into a season that others have sealed.
"""

from __future__ import annotations

from aggregate import bounds
from mesh import limits

_BOUND_US = int(bounds.CLOCK_BOUND_S * 1e6)
_DEADLINE_US = int(limits.PUBLISH_DEADLINE_S * 1e6)

assert limits.PUBLISH_DEADLINE_S < limits.SEAL_GRACE_S, "an event is younger than any sealed season"


class Watermark:
    """All times are Unix microseconds. Both numbers are stored: see PartitionState."""

    __slots__ = ("at_us", "newest_stamp_us")

    def __init__(self, at_us: int = 0, newest_stamp_us: int = 0) -> None:
        self.at_us = at_us
        self.newest_stamp_us = newest_stamp_us

    def pass_block(self, stamped_us: int, stored_us: int) -> None:
        self.newest_stamp_us = max(self.newest_stamp_us, stamped_us)
        self.at_us = max(self.at_us, min(stored_us, self.newest_stamp_us + _BOUND_US))

    def event_time_us(self, stamped_us: int) -> int:
        """When the events of a block happened; of a block that has just passed."""
        return min(max(stamped_us, self.at_us - _DEADLINE_US), self.at_us)
