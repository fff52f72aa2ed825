"""When to look whether a game is idle: nothing happened in it for its `idle_for`. Pure: times are passed in.

What happened last is known from the game's results, which say of each topic when it changed. Between two
looks nothing has to be known: a game that was active at t is not idle before t + idle_for. So a look at each
game in `idle_for` is enough, and after a restart one at each game that is older than that.

Bound: two places in the queue for each game that lives.
"""

from __future__ import annotations

import heapq

from grandstand.catalog.v1.catalog_pb2 import Game

_STALE_MIN = 64


class IdleGames:
    def __init__(self) -> None:
        self._due: dict[str, tuple[float, float]] = {}
        """By game: when to look at it, Unix seconds, and its idle_for."""
        self._queue: list[tuple[float, str]] = []

    def put(self, game: Game, idle_s: float) -> None:
        """Takes a game that is new or has changed. `idle_s`: 0 for never."""
        game_id = game.game_id
        if not idle_s or game.HasField("ended_at"):
            self.drop(game_id)
        elif self._due.get(game_id, (0.0, 0.0))[1] != idle_s:
            self._push(game_id, game.generation / 1e6, idle_s)

    def drop(self, game_id: str) -> None:
        self._due.pop(game_id, None)
        self._tidy()

    def take(self, now_s: float) -> str | None:
        """A game to look at now, or None. The caller reports what it saw by `active`."""
        while self._queue and self._queue[0][0] <= now_s:
            due_s, game_id = heapq.heappop(self._queue)
            if self._due.get(game_id, (0.0, 0.0))[0] == due_s:
                return game_id
        return None

    def active(self, game_id: str, last_s: float) -> None:
        """The game was active at this moment, or is to be taken for it."""
        if game_id in self._due:
            self._push(game_id, last_s, self._due[game_id][1])

    def again(self, game_id: str, at_s: float) -> None:
        """It could not be looked at."""
        if game_id in self._due:
            idle_s = self._due[game_id][1]
            self._push(game_id, at_s - idle_s, idle_s)

    def _push(self, game_id: str, last_s: float, idle_s: float) -> None:
        due_s = last_s + idle_s
        self._due[game_id] = (due_s, idle_s)
        heapq.heappush(self._queue, (due_s, game_id))
        self._tidy()

    def _tidy(self) -> None:
        """Takes out what is not valid any more, once it is most of the queue."""
        if len(self._queue) > 2 * len(self._due) + _STALE_MIN:
            self._queue = [(due_s, game_id) for game_id, (due_s, _) in self._due.items()]
            heapq.heapify(self._queue)
