"""When time alone changes what is shown: one heap for all inboxes. Pure.

Bound: one time for each item, and as many again that are stale.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

_STALE_MIN = 64


class ChangeTimes(Generic[Item]):
    def __init__(self) -> None:
        self._at_s: dict[Item, float] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        """How many times are held, stale ones too."""
        return len(self._heap)

    def put(self, item: Item, at_s: float | None) -> None:
        """In place of the time that was put before; None: no time."""
        if at_s is None:
            self._at_s.pop(item, None)
        elif self._at_s.get(item) != at_s:
            self._at_s[item] = at_s
            heapq.heappush(self._heap, (at_s, next(self._count), item))
        if len(self._heap) > 2 * len(self._at_s) + _STALE_MIN:
            self._heap = [(at_s, next(self._count), item) for item, at_s in self._at_s.items()]
            heapq.heapify(self._heap)

    def next_at_s(self) -> float | None:
        """When something is due; perhaps too early."""
        return self._heap[0][0] if self._heap else None

    def take(self, now_s: float) -> list[Item]:
        """What is due by now, each once."""
        due = []
        while self._heap and self._heap[0][0] <= now_s:
            at_s, _, item = heapq.heappop(self._heap)
            if self._at_s.get(item) == at_s:
                del self._at_s[item]
                due.append(item)
        return due
