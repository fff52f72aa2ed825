"""The games a run plays in, and what is open in them. Pure.

    hot            spread over four partitions; closes polls all along (see `closings`)
    calm-1, -2     one partition each; calm-1 closes polls, too

Each game has a poll of each sort, boards that sum and one that keeps the best, two boards with seasons, a
pulse, a metric and an audience, all of them for actors: browsers write, too. What an event adds can be told
from the results afterwards:

- On a board that sums, the n-th score of an actor is 4^n points. The base-4 digits of the
  actor's sum then say how often each single score was counted: 0 lost, 1 right, 2 or 3
  doubled. `SCORES_MAX` scores fit under the greatest sum (2^53).
- A board shows at most 100 actors, so a game has as many such boards as the run needs, of
  `ACTORS_MAX` actors each: every actor is on screen.
- A board with seasons sums the same way, and an actor's digits lie in several seasons: their sum says the
  same. Seasons of `SEASON_SHORT_S` follow each other and are read as they go by; the other board's season
  ends once, half way, and both of its seasons are there at the end.
- In a pulse, kind number n comes in bursts of n + 1, so that no two kinds weigh the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_SUM,
    WRITERS_ACTORS,
    Board,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from toolbox.chaos.closings import PlannedClose

OPTIONS = ("red", "blue", "green", "gold")
KINDS = ("fire", "clap", "wow", "boo", "heart", "star")
CHOICES_MAX = 3
WEIGHT_MAX = 9
SCORES_MAX = 26
ACTORS_MAX = 90
BOARD_TOP = 100
PULSE, METRIC, BEST = "cheer", "delay", "best"
FINAL, CHANGEABLE, MULTIPLE, WEIGHTED, CLOSING = "final", "changeable", "multiple", "weighted", "closing"
SEASON_SHORT, SEASON_LONG = "season-short", "season-long"
SEASON_BOARDS = (SEASON_SHORT, SEASON_LONG)
SEASON_SHORT_S, SEASON_LONG_S = limits.SEASON_MIN_S, 24 * 3600.0
CLOSING_TOPICS = f"poll/{CLOSING}-"
SEASON_TOPICS = "board/season-"

assert (4**SCORES_MAX - 1) // 3 * 3 < wire_bounds.POINTS_MAX, "three times every score is no clamped sum"
assert ACTORS_MAX <= BOARD_TOP <= wire_bounds.BOARD_TOP_MAX


@dataclass(frozen=True, slots=True)
class GameScene:
    """One game. `sum_boards` are opened before the load begins."""

    game_id: str
    spread: int
    share: float
    """Of the load."""
    closings: tuple[PlannedClose, ...]
    """In the order of their moments."""
    sum_boards: tuple[str, ...]
    season_ends_at_s: float
    """When the long season ends, from the beginning of the load."""

    def game(self) -> Game:
        return Game(
            game_id=self.game_id,
            title=f"Chaos in {self.game_id}",
            spread=self.spread,
            pulses=[Pulse(pulse_id=PULSE, kinds=KINDS)],
            metrics=[Metric(metric_id=METRIC, unit="ms", writers=WRITERS_ACTORS)],
            audience=True,
        )

    def polls(self) -> list[Poll]:
        sorts = [
            Poll(poll_id=FINAL),
            Poll(poll_id=CHANGEABLE, changeable=True),
            Poll(poll_id=MULTIPLE, choices_max=CHOICES_MAX),
            Poll(poll_id=WEIGHTED, weight_max=WEIGHT_MAX),
        ]
        for closing in self.closings:
            sorts.append(Poll(poll_id=closing.poll_id))
            if not closing.by_hand:
                open_for_s = max(closing.at_s, limits.OPEN_FOR_MIN_S)
                sorts[-1].open_for.FromMicroseconds(int(open_for_s * 1e6))
        for poll in sorts:
            poll.game_id, poll.question = self.game_id, f"Who wins ({poll.poll_id})?"
            poll.options.extend(PollOption(option_id=o, label=o.title()) for o in OPTIONS)
        return sorts

    def boards(self, now_s: float) -> list[Board]:
        """`now_s`: Unix seconds, about the beginning of the load."""
        sums = [Board(board_id=name, mode=BOARD_MODE_SUM) for name in (*self.sum_boards, *SEASON_BOARDS)]
        short, long = sums[-2:]
        short.season.every.FromMicroseconds(int(SEASON_SHORT_S * 1e6))
        long.season.every.FromMicroseconds(int(SEASON_LONG_S * 1e6))
        ends_at_s = now_s + self.season_ends_at_s
        long.season.starts_at.FromMicroseconds(int((ends_at_s - SEASON_LONG_S) * 1e6))
        found = [*sums, Board(board_id=BEST, mode=BOARD_MODE_BEST)]
        for board in found:
            board.game_id, board.title, board.top = self.game_id, board.board_id, BOARD_TOP
            board.writers = WRITERS_ACTORS
        return found


def scenes(seconds: float, events_per_s: float, closings: Sequence[PlannedClose] = ()) -> list[GameScene]:
    """The games of a run; `SUM_SHARE` of their events are scores on boards that sum."""
    found = []
    for name, spread, share, closes in (
        ("hot", 4, 0.5, True),
        ("calm-1", 1, 0.25, True),
        ("calm-2", 1, 0.25, False),
    ):
        scores = seconds * events_per_s * share * SUM_SHARE
        boards = math.ceil(scores / (SCORES_MAX * ACTORS_MAX)) + 1
        sums = tuple(f"sum-{n}" for n in range(1, boards + 1))
        found.append(GameScene(name, spread, share, tuple(closings) if closes else (), sums, seconds / 2))
    return found


SUM_SHARE = 0.25
