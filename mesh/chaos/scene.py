"""The games a run plays in, and what is open in them. Pure.

    hot            spread over four partitions; closes a poll half way
    calm-1, -2     one partition each; calm-1 closes a poll, too

Each game has a poll of each sort, boards that sum and one that keeps the best, a pulse, a
metric and an audience. What an event adds can be told from the results afterwards:

- On a board that sums, the n-th score of an actor is 4^n points. The base-4 digits of the
  actor's sum then say how often each single score was counted: 0 lost, 1 right, 2 or 3
  doubled. `SCORES_MAX` scores fit under the greatest sum (2^53).
- A board shows at most 100 actors, so a game has as many such boards as the run needs, of
  `ACTORS_MAX` actors each: every actor is on screen.
- In a pulse, kind number n comes in bursts of n + 1, so that no two kinds weigh the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_SUM,
    Board,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from mesh import limits

OPTIONS = ("red", "blue", "green", "gold")
KINDS = ("fire", "clap", "wow", "boo", "heart", "star")
CHOICES_MAX = 3
WEIGHT_MAX = 9
SCORES_MAX = 26
ACTORS_MAX = 90
BOARD_TOP = 100
PULSE, METRIC, BEST = "cheer", "delay", "best"
FINAL, CHANGEABLE, MULTIPLE, WEIGHTED, CLOSING = "final", "changeable", "multiple", "weighted", "closing"

assert (4**SCORES_MAX - 1) // 3 * 3 < limits.POINTS_MAX, "three times every score is no clamped sum"
assert ACTORS_MAX <= BOARD_TOP <= limits.BOARD_TOP_MAX


@dataclass(frozen=True, slots=True)
class GameScene:
    """One game. `sum_boards` are opened before the load begins."""

    game_id: str
    spread: int
    share: float
    """Of the load."""
    closes: bool
    sum_boards: tuple[str, ...]

    def game(self) -> Game:
        return Game(
            game_id=self.game_id,
            title=f"Chaos in {self.game_id}",
            spread=self.spread,
            pulses=[Pulse(pulse_id=PULSE, kinds=KINDS)],
            metrics=[Metric(metric_id=METRIC, unit="ms")],
            audience=True,
        )

    def polls(self) -> list[Poll]:
        sorts = [
            Poll(poll_id=FINAL),
            Poll(poll_id=CHANGEABLE, changeable=True),
            Poll(poll_id=MULTIPLE, choices_max=CHOICES_MAX),
            Poll(poll_id=WEIGHTED, weight_max=WEIGHT_MAX),
        ]
        if self.closes:
            sorts.append(Poll(poll_id=CLOSING))
        for poll in sorts:
            poll.game_id, poll.question = self.game_id, f"Who wins ({poll.poll_id})?"
            poll.options.extend(PollOption(option_id=o, label=o.title()) for o in OPTIONS)
        return sorts

    def boards(self) -> list[Board]:
        sums = [Board(board_id=name, mode=BOARD_MODE_SUM) for name in self.sum_boards]
        found = [*sums, Board(board_id=BEST, mode=BOARD_MODE_BEST)]
        for board in found:
            board.game_id, board.title, board.top = self.game_id, board.board_id, BOARD_TOP
        return found


def scenes(seconds: float, events_per_s: float) -> list[GameScene]:
    """The games of a run; `SUM_SHARE` of their events are scores on boards that sum."""
    found = []
    for name, spread, share, closes in (
        ("hot", 4, 0.5, True),
        ("calm-1", 1, 0.25, True),
        ("calm-2", 1, 0.25, False),
    ):
        scores = seconds * events_per_s * share * SUM_SHARE
        boards = math.ceil(scores / (SCORES_MAX * ACTORS_MAX)) + 1
        found.append(GameScene(name, spread, share, closes, tuple(f"sum-{n}" for n in range(1, boards + 1))))
    return found


SUM_SHARE = 0.25
