"""Over how many partitions a game is read: the most that its own entry or any of its topics says.

A topic keeps the spread it was opened with, and entries of the catalog may come one by one: who knows a topic
and an older entry of its game would else read too few partitions. Of one game, partitions of a smaller spread
are among those of a greater one.
"""

from __future__ import annotations

from mesh.catalog.view import CatalogView


class Spreads:
    """Walks the catalog once for each change of it. Bound: one number for each game."""

    def __init__(self, view: CatalogView) -> None:
        self._view = view
        self._changes = -1
        self._widest: dict[str, int] = {}

    def of(self, game_id: str) -> int:
        """1 or more. Raises Unknown."""
        spread = self._view.game(game_id).spread
        if self._view.changes != self._changes:
            self._changes = self._view.changes
            self._widest = {}
            for poll in self._view.polls():
                self._hear(poll.game_id, poll.spread)
            for board in self._view.boards():
                self._hear(board.game_id, board.spread)
        return max(1, spread, self._widest.get(game_id, 0))

    def _hear(self, game_id: str, spread: int) -> None:
        if spread > self._widest.get(game_id, 1):
            self._widest[game_id] = spread
