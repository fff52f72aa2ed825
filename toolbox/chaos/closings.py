"""Which polls of a run close when, and by what: a pure function of a seed and its strikes. Pure.

    by hand     in every game that closes polls, a moment after each freeze or cut begins: whoever is frozen
                still believes that the poll is open when it wakes after the seal; and once near the end
    by itself   `open_for`, between those

Each poll is open from the beginning of the load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from toolbox.chaos.schedule import CLOSE_AFTER_MAX_S
from toolbox.chaos.strike import Kind, Strike

_CLOSE_AFTER_MIN_S = 0.3
_BETWEEN_S = 4.0
_LAST_S = 2.0
# Of a run too short for a freeze.
_HALF_WAY = 0.45


@dataclass(frozen=True, slots=True)
class PlannedClose:
    """`at_s` counts from the beginning of the load."""

    at_s: float
    poll_id: str
    by_hand: bool


def closings(seed: int, seconds: float, strikes: Sequence[Strike]) -> list[PlannedClose]:
    """In the order of their moments; the same in every game that closes polls."""
    random = Random(f"closings {seed}")
    long = [strike.at_s for strike in strikes if strike.kind in (Kind.FREEZE, Kind.CUT)]
    by_hand = [at_s + random.uniform(_CLOSE_AFTER_MIN_S, CLOSE_AFTER_MAX_S) for at_s in long]
    by_hand += [max(seconds - _LAST_S, seconds * _HALF_WAY)]
    by_itself = [at_s + _BETWEEN_S for at_s in by_hand[:-1]] or [seconds * _HALF_WAY]
    moments = sorted([*((at_s, True) for at_s in by_hand), *((at_s, False) for at_s in by_itself)])
    return [
        PlannedClose(round(at_s, 3), f"closing-{n}", hand)
        for n, (at_s, hand) in enumerate(moments, 1)
        if at_s < seconds
    ]
