"""The anti-replay window of a producer: which of its sequence numbers were seen (I2).

As in RFC 6479 and the IPsec window it refines: the highest number seen and a bitmap of the
numbers just below it. A number above the window moves it; one inside is new or a replay by
its bit; one below it is taken as a replay, which is safe because credit keeps every unacked
number inside. The bitmap is one Python int: shifting it is as cheap as RFC 6479's ring of
words at these widths, and simpler. Viewers' windows are narrower and many: aggregate.origins
keeps those in columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Mask = NDArray[np.bool_]


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
        if self.has_seen(sequence):
            return False
        self.seen |= 1 << (self.highest - sequence)
        return True

    def admit_few(self, sequences: Sequence[int]) -> list[bool]:
        """`admit` for each in order; a run of ever greater new numbers at once."""
        newest = self.highest
        for sequence in sequences:
            if sequence <= newest:
                return list(map(self.admit, sequences))
            newest = sequence
        new = 0
        for sequence in sequences:
            if newest - sequence < self.width:
                new |= 1 << newest - sequence
        shift = newest - self.highest
        self.seen = new if shift >= self.width else new | self.seen << shift & (1 << self.width) - 1
        self.highest = newest
        return [True] * len(sequences)

    def has_seen(self, sequence: int) -> bool:
        """True for a number that would not be admitted now."""
        behind = self.highest - sequence
        return sequence < 1 or (behind >= 0 and (behind >= self.width or bool(self.seen >> behind & 1)))

    def give_back(self, sequence: int) -> None:
        """Takes an admitted number as not seen, so that it is admitted again; if it is within the window."""
        behind = self.highest - sequence
        if behind < self.width:
            self.seen &= ~(1 << behind)

    def admit_all(self, sequences: U64) -> Mask:
        """`admit` for each in order; a run of ever greater new numbers at once."""
        if not (int(sequences[0]) > self.highest and bool((sequences[1:] > sequences[:-1]).all())):
            return np.fromiter(map(self.admit, sequences.tolist()), dtype=np.bool_, count=len(sequences))
        newest = int(sequences[-1])
        behind = np.uint64(newest) - sequences
        bits = np.zeros(self.width, dtype=np.uint8)
        bits[behind[behind < self.width].astype(np.int64)] = 1
        new = int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
        shift = newest - self.highest
        old = 0 if shift >= self.width else (self.seen << shift) & ((1 << self.width) - 1)
        self.seen = old | new
        self.highest = newest
        return np.ones(len(sequences), dtype=np.bool_)
