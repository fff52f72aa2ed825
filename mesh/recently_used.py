"""A cache of what was used last: a bounded number of values by key. Pure.

Two generations: what is used moves into the young one; when that is full it becomes the old one, whose place
it takes. So a value is dropped when half as many others as may be kept were used since, and neither a hit nor
an overflow costs more than a few look-ups. Rejected: clearing the whole cache when it is full, which makes
what is used by many beside the rare thing that overflowed it expensive for all at once.

Bound: `kept_max` values; overflow drops those that were not used for longest.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class RecentlyUsed(Generic[Key, Value]):
    __slots__ = ("_half", "_old", "_young")

    def __init__(self, kept_max: int) -> None:
        """`kept_max`: 2 or more."""
        self._half = kept_max // 2
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: Key, value: Value) -> Value:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value
        return value

    def drop(self, key: Key) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        self._young.clear()
        self._old.clear()

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
