"""Which occurrence of which schedule is due next: one heap for all of them. Pure.

What leaves, or is entered again, stays in the heap until it comes to its top, where it is passed over.

Bound: an entry for each schedule, of some hundred bytes. Whoever schedules is refused beyond SCHEDULED_MAX;
what is stored is entered in any case.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from notify.schedule import Plan


class DueOccurrence(NamedTuple):
    name: str
    occurrence: int


class _Entry(NamedTuple):
    plan: Plan
    lasts_ns: int
    occurrence: int
    at_ns: int
    """When it is looked at: when it is due, or later if it could not be published."""


class Agenda:
    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def enter(self, name: str, plan: Plan, lasts_ns: int, now_ns: int) -> bool:
        """Whether anything of it is left: False for one whose occurrences have expired, all of them. One that
        is known already stays as it is. `lasts_ns`: from when an occurrence is due until it expires."""
        if name in self._entries:
            return True
        return self._put(name, plan, lasts_ns, 1, now_ns)

    def leave(self, name: str) -> None:
        self._entries.pop(name, None)

    def due(self, now_ns: int, most: int) -> list[DueOccurrence]:
        """Those that are due, and at most so many: what is given out comes again only by `passed` or
        `again`."""
        found: list[DueOccurrence] = []
        while len(found) < most and self._heap and self._heap[0][0] <= now_ns:
            at_ns, name = heapq.heappop(self._heap)
            entry = self._entries.get(name)
            if entry is not None and entry.at_ns == at_ns:
                found.append(DueOccurrence(name, entry.occurrence))
        return found

    def passed(self, name: str, occurrence: int, now_ns: int) -> bool:
        """Goes on with `occurrence`, or the first one after it that has not expired. Whether there is one."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return True
        return self._put(name, entry.plan, entry.lasts_ns, occurrence, now_ns)

    def again(self, name: str, at_ns: int) -> None:
        """The occurrence that was given out could not be published."""
        if (entry := self._entries.get(name)) is not None:
            self._push(name, entry._replace(at_ns=at_ns))

    def next_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def _put(self, name: str, plan: Plan, lasts_ns: int, begin: int, now_ns: int) -> bool:
        occurrence = plan.next_after(now_ns - lasts_ns, begin)
        if occurrence > plan.times:
            return False
        self._push(name, _Entry(plan, lasts_ns, occurrence, plan.due_ns(occurrence)))
        return True

    def _push(self, name: str, entry: _Entry) -> None:
        self._entries[name] = entry
        heapq.heappush(self._heap, (entry.at_ns, name))
