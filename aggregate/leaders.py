"""The best of a board's standings, kept in order while scores come in.

A buffer of keys (score, reached, actor_id), smallest first, holds every key up to and
including a bound; what is beyond it is not held. A score that gets better, or worse, moves
inside the buffer by binary search. The bound falls when the buffer outgrows its room, and only when
this many leaders fell behind it that less than `top` are left are all standings looked at
again. So saying the top costs nothing that grows with the number of actors.

With a room of hundreds and actors that score alike, a look at all N standings comes after
hundreds of leaders fell, each one of N/room events: a constant cost for each event.

Rejected: a heap (a key that moves cannot be found in it), a tree of all keys (twice the
memory of the standings), and taking the n smallest at each flush (N at every flush).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import TypeAlias

Key: TypeAlias = tuple[int, int, str]
"""score, smaller is better; when it was reached, see Rows.reached; who."""

ROOM_MIN = 512


class Leaders:
    def __init__(self, top: int, smallest: Callable[[int], list[Key]], room_min: int = ROOM_MIN) -> None:
        """`smallest(n)`: the n smallest of all keys in order, or all of them if there are fewer."""
        self._top = top
        self._room = max(room_min, 4 * top)
        self._smallest = smallest
        self._keys: list[Key] = []
        # None: every key is held.
        self._bound: Key | None = None
        self.looks = 0
        """How often all standings were looked at."""
        self._look()

    def move(self, old: Key | None, new: Key | None) -> None:
        """`old` is no more (None: there was none), `new` is (None: there is none)."""
        keys, bound = self._keys, self._bound
        if old is not None and (bound is None or old <= bound):
            del keys[bisect_left(keys, old)]
        if new is not None and (bound is None or new <= bound):
            insort(keys, new)
            if len(keys) > self._room:
                del keys[self._room // 2 :]
                self._bound = keys[-1]

    def best(self) -> list[Key]:
        """The `top` smallest keys in order, or all if there are fewer."""
        if self._bound is not None and len(self._keys) < self._top:
            self._look()
        return self._keys[: self._top]

    def _look(self) -> None:
        self.looks += 1
        half = self._room // 2
        self._keys = self._smallest(half + 1)
        self._bound = None
        if len(self._keys) > half:
            self._keys.pop()
            self._bound = self._keys[-1]
