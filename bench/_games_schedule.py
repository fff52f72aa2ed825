"""When the votes of a benchmark of many games are due. Pure, but for the clock that `keep` reads.

Sender and viewers need no exchange: vote k of a phase is due at a known moment and goes to game k modulo the
number of games. So the count that a viewer is shown says which votes are in it, and how old each is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

TURN_S = 0.002
"""What is due is sent together so often."""


class Schedule(NamedTuple):
    """The votes of one phase. Every game had `base` votes before, and is given as many more as any other."""

    games: int
    base: int = 0
    begin_us: int = 0
    """Of the machine's monotonic clock."""
    rate: float = 1.0
    """Votes a second, of all games together."""

    def due_us(self, game: int, vote: int) -> int:
        """When the vote that made this many of the game's was due."""
        return self.begin_us + round(1e6 * ((vote - self.base - 1) * self.games + game) / self.rate)

    def due(self, now_s: float) -> int:
        """How many are due by now, of all games together."""
        since_s = now_s - self.begin_us / 1e6
        return int(since_s * self.rate) + 1 if since_s >= 0 else 0


def keep(
    schedule: Schedule, count: int, send: Callable[[int, int], int], turn: Callable[[float], None]
) -> float:
    """Sends `count` votes as they are due; late ones at once. How late one was at most, in seconds.

    `send` is told the first of the votes that are due, and how many are; it answers how many it took. `turn`
    does what else is to do, for so long.
    """
    done, late_s = 0, 0.0
    while done < count:
        now_s = time.monotonic()
        due = min(count, schedule.due(now_s))
        if due > done:
            late_s = max(late_s, now_s - schedule.begin_us / 1e6 - done / schedule.rate)
            done += send(done, due - done)
        turn(0.0 if due > done else TURN_S)
    return late_s
