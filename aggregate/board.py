"""The fold of a leaderboard: one score an actor, combined by the board's mode.

Of equal scores the one reached first leads, by the block's stamp and then by the actor's
id, so the order is a pure function of the stream.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    Board,
)
from grandstand.internal.v1.internal_pb2 import BoardPartial
from mesh import limits


class Standing(NamedTuple):
    """An actor's score, and the event that reached it."""

    points: int
    reached_at_us: int
    origin_id: str
    origin_seq: int


class Leaderboard:
    """State: a standing for each actor."""

    def __init__(self, board: Board, standings: Iterable[tuple[str, Standing]] = ()) -> None:
        self.mode = board.mode
        self._top = board.top or limits.BOARD_TOP_DEFAULT
        self._standings: dict[str, Standing] = dict(standings)

    def score(
        self, actor_id: str, points: int, at_us: int, origin_id: str, origin_seq: int
    ) -> Standing | None:
        """Takes a score; returns the actor's new standing, or None if it did not change.

        A sum is clamped to ±2^53, the greatest whole number every client holds exactly.
        """
        before = self._standings.get(actor_id)
        if before is not None:
            if self.mode == BOARD_MODE_SUM:
                points = max(-limits.POINTS_MAX, min(limits.POINTS_MAX, before.points + points))
            elif self.mode == BOARD_MODE_LAST:
                if before.origin_id == origin_id and before.origin_seq > origin_seq:
                    return None
            elif (self.mode == BOARD_MODE_BEST and points <= before.points) or (
                self.mode == BOARD_MODE_LOWEST and points >= before.points
            ):
                return None
        standing = self._standings[actor_id] = Standing(points, at_us, origin_id, origin_seq)
        return standing

    def partial(self) -> BoardPartial:
        sign = 1 if self.mode == BOARD_MODE_LOWEST else -1
        best = heapq.nsmallest(
            self._top,
            self._standings.items(),
            key=lambda item: (sign * item[1].points, item[1].reached_at_us, item[0]),
        )
        return BoardPartial(
            mode=self.mode,
            top=self._top,
            actor_ids=[actor_id for actor_id, _ in best],
            points=[standing.points for _, standing in best],
            reached_at_us=[standing.reached_at_us for _, standing in best],
            actors=len(self._standings),
        )
