"""How often each option of each poll of a table was chosen, and by how many guests among them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from aggregate.keyindex import I64, U64
from aggregate.vote_cells import GUEST

I32 = NDArray[np.int32]
U32 = NDArray[np.uint32]
Mask = NDArray[np.bool_]

_ONE = np.uint64(1)
_GUEST = np.uint32(GUEST)
_WEIGHT = np.uint32(GUEST - 1)


class OptionCounts:
    """Polls have the numbers 0, 1, 2, ... Bound: a few numbers for each option."""

    def __init__(self) -> None:
        self.first: I64 = np.zeros(0, dtype=np.int64)
        """By poll, as `guest_voters`: where its options begin in the others."""
        self.guest_voters: I64 = np.zeros(0, dtype=np.int64)
        self.votes: I64 = np.zeros(0, dtype=np.int64)
        self.weights: I64 = np.zeros(0, dtype=np.int64)
        self.guest_votes: I64 = np.zeros(0, dtype=np.int64)

    def open(self, options: int) -> int:
        """A new poll; where its options begin."""
        first = len(self.votes)
        self.first = np.append(self.first, first)
        self.guest_voters = np.append(self.guest_voters, 0)
        more: I64 = np.zeros(options, dtype=np.int64)
        self.votes = np.append(self.votes, more)
        self.weights = np.append(self.weights, more)
        self.guest_votes = np.append(self.guest_votes, more)
        return first

    def count(self, poll: I64 | I32, options: U64, weight: U32, sign: int) -> None:
        """Adds votes (1) or takes them away (-1): of each its poll, its options as bits, and its weight as
        `with_guests` makes it."""
        guest = weight >= _GUEST
        if guest.any():
            weight = weight & _WEIGHT
            theirs = poll[guest]
            self.guest_voters += sign * np.bincount(theirs, minlength=len(self.guest_voters))
            for place, _ in self._places(theirs, options[guest]):
                self.guest_votes += sign * np.bincount(place, minlength=len(self.guest_votes))
        for place, chosen in self._places(poll, options):
            self._add(place, weight if chosen is None else weight[chosen], sign)

    def _places(self, poll: I64 | I32, options: U64) -> Iterable[tuple[I64, Mask | None]]:
        """Where the votes count, in turns; and whose places these are, None: everybody's."""
        first = self.first[poll]
        if not (options & (options - _ONE)).any():
            yield first + np.bitwise_count(options - _ONE), None
            return
        for bit in range(int(options.max()).bit_length()):
            chosen = (options >> np.uint64(bit) & _ONE) != 0
            yield first[chosen] + bit, chosen

    def _add(self, place: I64, weight: U32, sign: int) -> None:
        self.votes += sign * np.bincount(place, minlength=len(self.votes))
        # Sums of whole numbers below 2^53: exact.
        weights = np.bincount(place, weights=weight, minlength=len(self.weights))
        self.weights += sign * weights.astype(np.int64)


def with_guests(weight: U32 | None, guest: Mask | None) -> U32 | None:
    """The column of weights as tables have it. `weight`: of each vote, None: 1; `guest`: whether it is a
    guest's, None: none is."""
    if guest is None:
        return weight
    return np.where(guest, _GUEST, np.uint32(0)) | (np.uint32(1) if weight is None else weight)
