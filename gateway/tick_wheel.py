"""When whose tick is due: one wheel for all games. Pure.

What is due lies in slots of TICK_SLOT_S, so that thousands of games need one timer, and what is due at about
the same time goes together. Bound: one entry for each item, and one that is stale for each time it was moved
ahead.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

from gateway import bounds

Item = TypeVar("Item", bound=Hashable)


class TickWheel(Generic[Item]):
    def __init__(self) -> None:
        self._slots: dict[int, list[Item]] = {}
        self._order: list[int] = []
        """Slots that hold something, as a heap."""
        self._slot_of: dict[Item, int] = {}

    def put(self, item: Item, at_s: float) -> None:
        """`item` is due then, or when it was put before, whichever comes first."""
        slot = math.ceil(at_s / bounds.TICK_SLOT_S)
        known = self._slot_of.get(item)
        if known is not None and known <= slot:
            return
        self._slot_of[item] = slot
        held = self._slots.get(slot)
        if held is None:
            self._slots[slot] = [item]
            heapq.heappush(self._order, slot)
        else:
            held.append(item)

    def drop(self, item: Item) -> None:
        self._slot_of.pop(item, None)

    def next_at_s(self) -> float | None:
        """When something is due."""
        return self._order[0] * bounds.TICK_SLOT_S if self._order else None

    def take(self, now_s: float) -> list[Item]:
        """What is due by now."""
        slot_max = math.floor(now_s / bounds.TICK_SLOT_S + 1e-6)
        due: list[Item] = []
        while self._order and self._order[0] <= slot_max:
            slot = heapq.heappop(self._order)
            for item in self._slots.pop(slot):
                if self._slot_of.get(item) == slot:
                    del self._slot_of[item]
                    due.append(item)
        return due
