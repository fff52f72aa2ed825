"""Events that have no number yet: those that wait for credit, and those that are to go out again later. Pure.

An event's rank says whether it may give way to a newer one when there is no room, in the order in which
ingest sheds (I7): measures first, then reactions and presence; everything else keeps its place.

Bound: none of its own; the session looks at `len` before it puts anything in.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Priority(IntEnum):
    """How readily an event gives way."""

    KEEPS = 0
    MEASURE = 1
    REACTION = 2
    """Reactions and presence."""


@dataclass(slots=True)
class WaitingEvent(Generic[T]):
    """An event, and what the session must know of it."""

    event: T
    bytes_count: int
    rank: Priority = Priority.KEEPS
    refusals: int = 0
    """How often it was refused for the time being."""


@dataclass(slots=True, order=True)
class _Later(Generic[T]):
    at_s: float
    order: int
    waiting: WaitingEvent[T] = field(compare=False)


class Buffer(Generic[T]):
    """First in, first out; what comes back from later goes first."""

    def __init__(self) -> None:
        self._now: deque[WaitingEvent[T]] = deque()
        self._later: list[_Later[T]] = []
        self._order = 0
        self._ranks = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return len(self._now) + len(self._later)

    @property
    def ready(self) -> int:
        """How many could go out now."""
        return len(self._now)

    @property
    def giving(self) -> int:
        """How many would give way."""
        return self._ranks[Priority.MEASURE] + self._ranks[Priority.REACTION]

    @property
    def later_at_s(self) -> float | None:
        """When the next one comes back."""
        return self._later[0].at_s if self._later else None

    def put(self, waiting: WaitingEvent[T]) -> None:
        self._now.append(waiting)
        self._ranks[waiting.rank] += 1

    def put_later(self, waiting: WaitingEvent[T], at_s: float) -> None:
        """It was sent once and refused: from now on it keeps its place."""
        waiting.rank = Priority.KEEPS
        self._order += 1
        heapq.heappush(self._later, _Later(at_s, self._order, waiting))

    def bring_back(self, now_s: float) -> None:
        """Puts what is due at the front."""
        while self._later and self._later[0].at_s <= now_s:
            waiting = heapq.heappop(self._later).waiting
            self._now.appendleft(waiting)
            self._ranks[waiting.rank] += 1

    def take(self) -> WaitingEvent[T]:
        """The next one to go out. Raises IndexError when there is none."""
        waiting = self._now.popleft()
        self._ranks[waiting.rank] -= 1
        return waiting

    def give_way(self) -> T | None:
        """Drops the oldest measure, else the oldest reaction or presence; None if there is none."""
        for rank in (Priority.MEASURE, Priority.REACTION):
            if self._ranks[rank]:
                return self._remove(next(waiting for waiting in self._now if waiting.rank is rank)).event
        return None

    def take_larger(self, bytes_max: int) -> list[WaitingEvent[T]]:
        """Takes out those that have more bytes."""
        large = [waiting for waiting in self._now if waiting.bytes_count > bytes_max]
        return [self._remove(waiting) for waiting in large]

    def empty(self) -> Iterator[T]:
        """Empties it; yields what was there."""
        while self._now:
            yield self.take().event
        while self._later:
            yield self._later.pop().waiting.event

    def _remove(self, waiting: WaitingEvent[T]) -> WaitingEvent[T]:
        at = next(at for at, each in enumerate(self._now) if each is waiting)
        del self._now[at]
        self._ranks[waiting.rank] -= 1
        return waiting
