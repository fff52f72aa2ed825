"""Rows for 128-bit keys: a hash table whose every operation works on whole columns.

A `KeyIndex` numbers the keys it meets 0, 1, 2, ... in a table of open addressing; what belongs
to a key stands in plain numpy columns at its number. One call looks up or adds thousands of
keys in some ten rounds of numpy steps, one for each slot the unluckiest key has to look at: so
the table is kept no more than a quarter full, and probes move on in growing steps (triangular
numbers, which reach every slot of a table of 2^n). A key costs 32 to 64 bytes and no object.
It grows bit by bit: what a crowd's votes take may hold nobody else's up for long.
A dict from bytes to a tuple does the same at ten times the CPU and memory here: most of that
is the allocation of the objects.

`find_one` and `row_of` do the same for one key in plain Python, which for a few keys costs less than numpy's
steps do for any number.

Keys come from outside, so `salt` (any number, best a random one) keeps clients from choosing
keys that collide; it decides where keys lie, never what is counted. Bound: 2^31 keys; the
owner forgets by making a new index of what it keeps.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

# A table with room for _STEPWISE_FROM keys takes too long to grow in one call. Once it is half full, its keys
# move to the next table step by step: _MOVED_FOR_EACH for each new key, at least _MOVED_MIN in one call. This
# costs 10 % more, so calls with more than _STEPWISE_UP_TO keys, as when a backlog is folded, skip it.
_STEPWISE_FROM = 1 << 16
_STEPWISE_UP_TO = 1_024
_MOVED_FOR_EACH = 4
_MOVED_MIN = 2_048
_BITS_MIN = 7
_SLOTS_PER_KEY_BITS = 2
_ODD = np.uint64(0x9E3779B97F4A7C15)
_ODD_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_ONE_ODD, _ONE_ODD_2 = int(_ODD), int(_ODD_2)
_64_BITS = (1 << 64) - 1


def key_columns(joined: bytes) -> tuple[U64, U64]:
    """Keys of 16 bytes, one after the other, as two columns."""
    pairs = np.frombuffer(joined, dtype="<u8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def joined_keys(low: U64, high: U64) -> bytes:
    """The inverse of `key_columns`."""
    return np.stack((low, high), axis=1).astype("<u8", copy=False).tobytes()


class KeyIndex:
    """Numbers for keys given as two u64 columns."""

    def __init__(self, salt: int = 0) -> None:
        self._one_salt = salt & _64_BITS
        self._salt = np.uint64(self._one_salt)
        self._bits = _BITS_MIN
        self._slots: NDArray[np.int32] = np.zeros(1 << self._bits, dtype=np.int32)
        """One more than the key's number; 0: free."""
        self._low: U64 = np.zeros(1 << (self._bits - _SLOTS_PER_KEY_BITS), dtype=np.uint64)
        self._high: U64 = np.zeros(1 << (self._bits - _SLOTS_PER_KEY_BITS), dtype=np.uint64)
        self._count = 0
        self._following: NDArray[np.int32] | None = None
        """The table twice as large, while it is filled: with the first `_moved` keys."""
        self._moved = self._owed = 0
        self._view()

    def _view(self) -> None:
        """One value of a column costs a third of what numpy takes for it."""
        quarter = 1 << (self._bits - _SLOTS_PER_KEY_BITS)
        self._room = quarter - quarter * (self._one_salt & 0xFF) // 1024
        self.slots, self._one_low, self._one_high = self._slots.data, self._low.data, self._high.data

    def __len__(self) -> int:
        return self._count

    @property
    def capacity(self) -> int:
        """How many keys have room without growing: the length that columns beside the index need."""
        return len(self._low)

    @property
    def low(self) -> U64:
        return self._low[: self._count]

    @property
    def high(self) -> U64:
        return self._high[: self._count]

    def find(self, low: U64, high: U64) -> I64:
        """The number of each key; -1 for one that is not in the index."""
        return self._probe(low, high, add=False)

    def rows(self, low: U64, high: U64) -> I64:
        """The number of each key; new ones are added and get the next numbers, in any order."""
        self.reserve(len(low))
        return self._probe(low, high, add=True)

    def find_one(self, low: int, high: int) -> int:
        """As `find`, of one key."""
        return self.slots[self.slot_of(low, high)] - 1

    def row_of(self, low: int, high: int) -> int:
        """As `rows`, of one key for which there is room."""
        at = self.slot_of(low, high)
        row = self.slots[at] - 1
        return self.add_at(at, low, high) if row < 0 else row

    def add_at(self, at: int, low: int, high: int) -> int:
        """The number of a key that is new and for which there is room. `at`: its `slot_of`, perhaps of before
        others were added."""
        if self.slots[at]:
            at = self.slot_of(low, high)
        row = self._count
        self._one_low[row], self._one_high[row] = low, high
        self.slots[at] = self._count = row + 1
        return row

    def slot_of(self, low: int, high: int) -> int:
        """Where in `slots` one more than the key's number is, or is to be put: then there is 0."""
        mixed = (((low ^ self._one_salt) * _ONE_ODD) ^ (high * _ONE_ODD_2)) & _64_BITS
        at = (((mixed ^ mixed >> 29) * _ONE_ODD) & _64_BITS) >> (64 - self._bits)
        slots = self.slots
        if not (found := slots[at]):
            return at
        lows, highs = self._one_low, self._one_high
        step = 0
        while found and (lows[found - 1] != low or highs[found - 1] != high):
            step += 1
            at = (at + step) & (len(slots) - 1)
            found = slots[at]
        return at

    def _probe(self, low: U64, high: U64, add: bool) -> I64:
        """Each step looks at one slot of every key that is not settled yet."""
        last = len(self._slots) - 1
        at = self._home(low, high, self._bits)
        result: I64 = np.empty(len(low), dtype=np.int64)
        open_rows: I64 | None = None  # None: all of them
        for step in itertools.count(1):
            found = self._slots[at] - 1
            settled = found < 0
            if add and settled.any():
                self._claim(at[settled], low[settled], high[settled])
                found = self._slots[at] - 1
                settled = (self._low[found] == low) & (self._high[found] == high)
            else:
                settled |= (self._low[found] == low) & (self._high[found] == high)
            number = found.astype(np.int64)
            if open_rows is None:
                result[:] = number
            else:
                result[open_rows] = number
            if settled.all():
                return result
            left = np.flatnonzero(~settled)
            open_rows = left if open_rows is None else open_rows[left]
            low, high = low[left], high[left]
            at = (at[left] + step) & last
        raise AssertionError("a table that is not full has a slot for every key")

    def _claim(self, at: I64, low: U64, high: U64) -> None:
        """Gives free slots to keys; of several that want one slot, one gets it, and the others
        find it taken: by their own key, if it came twice, or by another."""
        wanted = np.arange(self._count + 1, self._count + 1 + len(at), dtype=np.int32)
        self._slots[at] = wanted
        won = self._slots[at] == wanted
        if not won.all():
            at, low, high = at[won], low[won], high[won]
            self._slots[at] = np.arange(self._count + 1, self._count + 1 + len(at), dtype=np.int32)
        self._low[self._count : self._count + len(at)] = low
        self._high[self._count : self._count + len(at)] = high
        self._count += len(at)

    def _home(self, low: U64, high: U64, bits: int) -> I64:
        """The slot a key is looked for first: multiply-shift hashing of both halves."""
        mixed = ((low ^ self._salt) * _ODD) ^ (high * _ODD_2)
        mixed ^= mixed >> np.uint64(29)
        return ((mixed * _ODD) >> np.uint64(64 - bits)).astype(np.int64)

    def reserve(self, more: int) -> None:
        """Makes room for `more` keys. The table is at most a quarter full, and grows to twice its size before
        it is: when exactly depends on the salt, so that the tables of a process, which fill alike, do not all
        grow at once."""
        needed = self._count + more
        if needed > self._room:
            self._grow(needed)
        elif needed > self._room // 2 and self._room >= _STEPWISE_FROM and more <= _STEPWISE_UP_TO:
            self._move_on(more)

    def _move_on(self, more: int) -> None:
        """Puts some keys into the table that is to follow; all are there by the time the room is used up."""
        self._owed += _MOVED_FOR_EACH * more
        if self._owed < _MOVED_MIN:
            return
        if self._following is None:
            self._following = np.zeros(2 << self._bits, dtype=np.int32)
        to = min(self._count, self._moved + self._owed)
        self._put(self._following, self._bits + 1, self._moved, to)
        self._moved, self._owed = to, 0

    def _grow(self, needed: int) -> None:
        bits = self._bits + 1
        while 1 << (bits - _SLOTS_PER_KEY_BITS) < needed:
            bits += 1
        capacity = 1 << (bits - _SLOTS_PER_KEY_BITS)
        self._low, self._high = grown(self._low, capacity), grown(self._high, capacity)
        slots, moved = self._following, self._moved
        if slots is None or len(slots) != 1 << bits:
            slots, moved = np.zeros(1 << bits, dtype=np.int32), 0
        self._put(slots, bits, moved, self._count)
        self._slots, self._bits = slots, bits
        self._following, self._moved, self._owed = None, 0, 0
        self._view()

    def _put(self, slots: NDArray[np.int32], bits: int, first: int, past: int) -> None:
        """Puts keys, by their numbers, into a table that has none of them."""
        numbers = np.arange(first + 1, past + 1, dtype=np.int32)
        at = self._home(self._low[first:past], self._high[first:past], bits)
        for step in itertools.count(1):
            free = slots[at] == 0
            slots[at[free]] = numbers[free]
            left = np.flatnonzero(slots[at] != numbers)
            if not len(left):
                return
            numbers = numbers[left]
            at = (at[left] + step) & (len(slots) - 1)


def grown(column: NDArray, capacity: int) -> NDArray:  # type: ignore[type-arg]
    """The column with room for `capacity` rows, zeros after what it holds."""
    if len(column) >= capacity:
        return column
    longer = np.zeros(capacity, dtype=column.dtype)
    longer[: len(column)] = column
    return longer
