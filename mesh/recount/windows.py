"""Which numbers of an origin were seen: RFC 6479, with a set of numbers in place of its ring. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from grandstand.wire import bounds as wire_bounds


class SeenBefore(Enum):
    NEW = "new"
    AGAIN = "again"
    BELOW = "below"
    """Below what the window remembers."""


@dataclass(slots=True)
class Window:
    width: int
    highest: int = 0
    bits: int = 0
    """Bit i: highest - i was seen."""
    where: dict[int, int] = field(default_factory=dict)
    """The block in which a number was seen, where that is wanted."""

    def take(self, seq: int) -> SeenBefore:
        if seq > self.highest:
            self.bits = ((self.bits << min(seq - self.highest, self.width)) | 1) & ((1 << self.width) - 1)
            self.highest = seq
            return SeenBefore.NEW
        behind = self.highest - seq
        if seq < 1 or behind >= self.width:
            return SeenBefore.BELOW
        if self.bits >> behind & 1:
            return SeenBefore.AGAIN
        self.bits |= 1 << behind
        return SeenBefore.NEW

    def give_back(self, seq: int) -> None:
        behind = self.highest - seq
        if behind < self.width:
            self.bits &= ~(1 << behind)


def window_of(*, producer: bool) -> Window:
    return Window(wire_bounds.PRODUCER_WINDOW if producer else wire_bounds.VIEWER_WINDOW)
