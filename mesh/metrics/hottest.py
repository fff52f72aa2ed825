"""Series by game, within a bound: the hottest ones by name, all others as one. Pure.

Game ids are the operators' own and there may be tens of thousands, so no metric has one as a label without
this. A game may enter and leave the hottest at any scrape: such series are gauges, never counters.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from operator import itemgetter

from grandstand.wire import ids

HOTTEST_MAX = 10
OTHERS = "other"
GAMES_MAX = 4_096
WINDOW_S = 10.0


def hottest(values: Mapping[str, float], most: int = HOTTEST_MAX) -> dict[str, float]:
    """The `most` greatest, and the sum of the rest as OTHERS. A game whose id is OTHERS is in that sum, a
    hidden game in none."""
    seen = {game_id: value for game_id, value in values.items() if not ids.is_hidden(game_id)}
    named = (each for each in seen.items() if each[0] != OTHERS)
    found = dict(heapq.nlargest(most, named, itemgetter(1)))
    found[OTHERS] = sum(seen.values()) - sum(found.values())
    return found


class GameRates:
    """Events a second by game, over the last whole window of WINDOW_S. `now_s`: a clock that never jumps.

    Bound: GAMES_MAX games a window; the events of further ones are counted as OTHERS.
    """

    def __init__(self) -> None:
        self._events: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._began_s = float("-inf")

    def add(self, game_id: str, events: int, now_s: float) -> None:
        """Called once for each game of a block."""
        if now_s - self._began_s >= WINDOW_S:
            self._turn(now_s)
        counts = self._events
        if game_id in counts:
            counts[game_id] += events
        else:
            if len(counts) >= GAMES_MAX:
                game_id = OTHERS
            counts[game_id] = counts.get(game_id, 0) + events

    def hottest(self, now_s: float) -> dict[str, float]:
        self._turn(now_s)
        return {game_id: events / WINDOW_S for game_id, events in hottest(self._last).items()}

    def _turn(self, now_s: float) -> None:
        passed_s = now_s - self._began_s
        if passed_s < WINDOW_S:
            return
        self._last = self._events if passed_s < 2 * WINDOW_S else {}
        self._events = {}
        self._began_s = now_s
