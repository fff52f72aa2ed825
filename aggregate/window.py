"""The anti-replay window of an origin: which of its sequence numbers were seen (I2).

As in RFC 6479 and the IPsec window it refines: the highest number seen and a bitmap of the
numbers just below it. A number above the window moves it; one inside is new or a replay by
its bit; one below it is taken as a replay, which is safe because credit keeps every unacked
number inside. The bitmap is one Python int: shifting it is as cheap as RFC 6479's ring of
words at these widths, and simpler.
"""

from __future__ import annotations


class ReplayWindow:
    """Bit i of `seen` stands for `highest - i`; `width` bits are kept."""

    __slots__ = ("highest", "seen", "width")

    def __init__(self, width: int, highest: int = 0, seen: int = 0) -> None:
        self.width = width
        self.highest = highest
        self.seen = seen

    def admit(self, sequence: int) -> bool:
        """True the first time a number (from 1) comes, False for a replay."""
        if sequence > self.highest:
            shift = sequence - self.highest
            self.seen = 1 if shift >= self.width else ((self.seen << shift) | 1) & ((1 << self.width) - 1)
            self.highest = sequence
            return True
        behind = self.highest - sequence
        if behind >= self.width:
            return False
        bit = 1 << behind
        if self.seen & bit:
            return False
        self.seen |= bit
        return True
