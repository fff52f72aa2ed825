"""Over how many partitions a game is read: the most that its own entry or any of its topics says.

A topic keeps the spread it was opened with, and entries of the catalog may come one by one: who knows a topic
and an older entry of its game would else read too few partitions. Of one game, partitions of a smaller spread
are among those of a greater one.
"""

from __future__ import annotations

from mesh.catalog.view import CatalogView


class Spreads:
    def __init__(self, view: CatalogView) -> None:
        self._view = view

    def of(self, game_id: str) -> int:
        """1 or more. Raises Unknown."""
        return max(1, self._view.game(game_id).spread, self._view.widest(game_id))
