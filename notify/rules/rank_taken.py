"""An actor is not among the first of a board any more, because others are. It is told; one after the other.

Whose scores were removed is not told, unless somebody else came in its place at the same look. A new season
begins again. Missed is whoever came among the first and went while nobody looked: after a takeover that is
measured from the last firing, and if there was none, from the first look.

`at_most_every` holds for each actor; the TOLD_MAX told last are remembered.
"""

from __future__ import annotations

from hashlib import blake2b

from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results, Who
from notify.rules.state import State

TOLD_MAX = 100


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    season = of.season_of(results)
    first = tuple(of.first_ids(results, season, rule.first))
    if season > state.season or len(first) < len(state.first):
        return Judged(state._replace(season=season, first=first))
    if state.first == first and season == state.season:
        return Judged(state)
    there = set(first)
    lost = [actor_id for actor_id in state.first if actor_id not in there]
    if not lost:
        return Judged(state._replace(season=season, first=first))
    held = list(state.first)
    came = [actor_id for actor_id in first if actor_id not in held]
    told = _told(rule, state, now_s)
    for actor_id in lost:
        place = held.index(actor_id)
        # Who came takes its place, so that what is left to tell stays where it was.
        held[place] = came.pop(0) if came else ""
        if _digest(actor_id) not in told:
            after = state._replace(season=season, first=tuple(each for each in held if each))
            if rule.every_s:
                kept = [*told.items(), (_digest(actor_id), int(now_s))][-TOLD_MAX:]
                after = after._replace(told=tuple(kept))
            return Judged(
                after,
                RuleMatch(
                    actor=Who(actor_id),
                    rank=place + 1,
                    leader=tuple(of.first_of(results, season, 1)),
                    season=season,
                ),
            )
    return Judged(state._replace(season=season, first=first))


def _told(rule: Compiled, state: State, now_s: float) -> dict[int, int]:
    """Who is not to be told again yet."""
    if not rule.every_s:
        return {}
    return {digest: at_s for digest, at_s in state.told if abs(now_s - at_s) < rule.every_s}


def _digest(actor_id: str) -> int:
    return int.from_bytes(blake2b(actor_id.encode(), digest_size=8).digest(), "big")
