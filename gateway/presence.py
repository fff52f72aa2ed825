"""Who watches which game through this gateway, and when each report is due. Pure.

One report for an actor and a game, however many streams. The first is due when the first stream opens, the
second PRESENCE_AGAIN_S later, and from then on one every PRESENCE_REPORT_S. PRESENCE_GONE_S after the last
stream closed a report says that the actor has gone; the delay hides a page reload.

Why the second report: the first may have been shed with a crowd that came at once, and the next regular one
may be PRESENCE_REPORT_S away.

Regular reports are kept in a ring of slots, one turn each PRESENCE_REPORT_S. The slot of a new actor is the
next of the golden-ratio sequence, which fills a circle evenly at any number (Weyl, Steinhaus), so that actors
who joined in one burst are not reported in one burst ever after: with n actors each slot of SLOT_S holds
n * SLOT_S / PRESENCE_REPORT_S, give or take a few.

Bounds: PRESENCES_MAX actors and games. On overflow the one that left first is forgotten and reported gone at
once; if none has left (the gateway admits fewer viewers than this), the new one is not reported.

Rejected: a heap of times: logarithmic cost for every report, and what came together stays together. A random
slot: some slot holds three times the mean.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from gateway import bounds

SLOT_S = 0.25
_GOLDEN = (math.sqrt(5) - 1) / 2

Key = tuple[str, str, bool]
"""Game, actor, and whether it is a guest."""


class PresenceReport(NamedTuple):
    game_id: str
    actor_id: str
    present: bool
    guest: bool = False


class _PresentActor:
    """An actor of a game."""

    __slots__ = ("slot", "streams")

    def __init__(self) -> None:
        self.streams = 1
        self.slot = -1
        """In the ring; -1 before the second report."""


class Presence:
    """`now_s`: seconds of a clock that never goes back, the same in all calls."""

    def __init__(self, presences_max: int = bounds.PRESENCES_MAX) -> None:
        self._presences_max = presences_max
        self._watches: dict[Key, _PresentActor] = {}
        self._at_once: dict[Key, bool] = {}
        """What is due, and whether the actor is present."""
        self._again: OrderedDict[Key, float] = OrderedDict()
        """When the second report is due, in order."""
        self._departing: OrderedDict[Key, float] = OrderedDict()
        """When each is to be reported gone, in order; these have no stream."""
        self._ring: list[dict[Key, None]] = [{} for _ in range(round(bounds.PRESENCE_REPORT_S / SLOT_S))]
        self._in_ring = 0
        self._turned = -1
        """The newest slot of time that was reported: seconds / SLOT_S."""
        self._newcomers = 0

    def __len__(self) -> int:
        """Actors and games, those included that just left."""
        return len(self._watches)

    def enter(self, game_id: str, actor_id: str, now_s: float, guest: bool = False) -> None:
        """A stream of the actor opened."""
        key = (game_id, actor_id, guest)
        watch = self._watches.get(key)
        if watch is not None:
            watch.streams += 1
            self._departing.pop(key, None)
            return
        if len(self._watches) >= self._presences_max:
            if not self._departing:
                return
            self._forget(next(iter(self._departing)))
        self._watches[key] = _PresentActor()
        self._at_once[key] = True
        self._again[key] = now_s + bounds.PRESENCE_AGAIN_S

    def leave(self, game_id: str, actor_id: str, now_s: float, guest: bool = False) -> None:
        """One that was opened closed."""
        key = (game_id, actor_id, guest)
        watch = self._watches.get(key)
        if watch is None or not watch.streams:
            return
        watch.streams -= 1
        if not watch.streams:
            self._departing[key] = now_s + bounds.PRESENCE_GONE_S

    @property
    def next_at_s(self) -> float | None:
        """When `due` has a report at the earliest, perhaps in the past. None: not before something
        changes."""
        if self._at_once:
            return -math.inf
        times = [next(iter(queue.values())) for queue in (self._again, self._departing) if queue]
        if self._in_ring:
            times.append((self._turned + 1) * SLOT_S)
        return min(times, default=None)

    def due(self, now_s: float) -> list[PresenceReport]:
        """The reports that are due; each actor and game once. Missed turns of the ring are made up for
        once."""
        slot, turn = math.floor(now_s / SLOT_S), len(self._ring)
        for passed in range(max(self._turned + 1, slot - turn + 1), slot + 1):
            self._at_once.update(dict.fromkeys(self._ring[passed % turn], True))
        self._turned = max(self._turned, slot)
        while self._again and (key := next(iter(self._again))) and self._again[key] <= now_s:
            del self._again[key]
            self._at_once[key] = True
            self._place(key)
        while self._departing and (key := next(iter(self._departing))) and self._departing[key] <= now_s:
            self._forget(key)
        reports = [
            PresenceReport(game_id, actor_id, present, guest)
            for (game_id, actor_id, guest), present in self._at_once.items()
        ]
        self._at_once.clear()
        return reports

    def _place(self, key: Key) -> None:
        self._newcomers += 1
        slot = int(self._newcomers * _GOLDEN % 1 * len(self._ring))
        self._watches[key].slot = slot
        self._ring[slot][key] = None
        self._in_ring += 1

    def _forget(self, key: Key) -> None:
        """Forgets the actor and reports it gone; not if so many reports wait that nobody takes them: an actor
        that is not reported stops counting after PRESENCE_S anyway."""
        watch = self._watches.pop(key)
        self._again.pop(key, None)
        self._departing.pop(key, None)
        if watch.slot >= 0:
            del self._ring[watch.slot][key]
            self._in_ring -= 1
        self._at_once.pop(key, None)
        if len(self._at_once) < 2 * self._presences_max:
            self._at_once[key] = False
