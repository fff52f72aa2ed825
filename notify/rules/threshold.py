"""A count is reached: once, or again at each further multiple; of several at once the last. On a board with
seasons, in each season.

Of polls, boards and uniques never missed: what was reached is seen whenever somebody looks next. Of a season
that is over too, until the next one is over. A pulse's window is missed if nobody looked while it was full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results, Who
from notify.rules.state import State


class _Count(NamedTuple):
    value: int
    leader: tuple[Who, ...] = ()
    season: int = 0


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    if not results.partials:
        return Judged(state)
    if not results.topic.startswith("board/"):
        count = _count(results, now_s)
        multiple = _multiple(rule, count.value)
        if multiple <= state.reached:
            return Judged(state)
        return Judged(
            state._replace(reached=multiple), _found(rule, count._replace(leader=_leader(results)), multiple)
        )
    return _of_board(rule, _in_season(state, of.season_of(results)), results)


def _of_board(rule: Compiled, state: State, results: Results) -> Judged:
    for count in _seasons(rule, results):
        multiple = _board_multiple(rule, count.value, lowest_first=of.is_lowest_first(results))
        is_over = count.season < state.season
        if multiple > (state.reached_before if is_over else state.reached):
            after = state._replace(reached_before=multiple) if is_over else state._replace(reached=multiple)
            return Judged(after, _found(rule, count, multiple))
    return Judged(state)


def _in_season(state: State, season: int) -> State:
    if season <= state.season:
        return state
    followed = state.season and season == state.season + 1
    return State(season=season, reached_before=state.reached if followed else 0)


def _seasons(rule: Compiled, results: Results) -> Iterator[_Count]:
    """The season before, if it ended since the rule is judged; then the newest."""
    newest = of.season_of(results)
    for season in (newest - 1, newest):
        if season < newest and (season < 1 or of.season_ends_at_s(results, season) < rule.since_s):
            continue
        first = of.first_of(results, season, 1)
        if first:
            yield _Count(first[0].points, (first[0],), season)


def _count(results: Results, now_s: float) -> _Count:
    match results.topic.partition("/")[0]:
        case "poll":
            return _Count(of.voters(results))
        case "audience":
            return _Count(sum(partial.audience.uniques for partial in results.partials))
        case _:
            return _Count(of.recent_reactions(results, now_s))


def _leader(results: Results) -> tuple[Who, ...]:
    return of.options_ahead(results) if results.topic.startswith("poll/") else ()


def _multiple(rule: Compiled, value: int) -> int:
    """What of the threshold's multiples is reached; 0 for none."""
    return value // rule.at if rule.each else int(value >= rule.at)


def _board_multiple(rule: Compiled, points: int, *, lowest_first: bool) -> int:
    """Where the lowest leads, few points are reached, and only once."""
    if lowest_first:
        return int(points <= rule.at)
    return _multiple(rule, points) if points > 0 else 0


def _found(rule: Compiled, count: _Count, multiple: int) -> RuleMatch:
    return RuleMatch(value=multiple * rule.at, leader=count.leader, season=count.season)
