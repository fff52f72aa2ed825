"""A season of a board is over, and all that was scored in it is in. One in which nobody scored is not told.

Never missed while its results are kept, which is until the next season is over: of several that ended while
nobody looked, the last is told.
"""

from __future__ import annotations

from mesh import limits
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    over = of.season_of(results) - 1
    if over < 1 or over <= state.season or not of.is_season_sealed(results, over):
        return Judged(state)
    sealed_s = of.season_ends_at_s(results, over) + limits.SEAL_GRACE_S
    first = tuple(of.first_of(results, over, 1))
    after = State(season=over)
    if not first or sealed_s < rule.since_s:
        return Judged(after)
    return Judged(after, RuleMatch(value=first[0].points, leader=first, season=over))
