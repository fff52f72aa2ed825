"""An actor is not among the first of a board any more, because others are. It is told; one after the other.

Whose scores were removed is not told, unless somebody else came in its place at the same look. A new season
begins anew. Missed is whoever came among the first and went while nobody looked: after a takeover that is
measured from the last firing, and if there was none, from the first look.

`at_most_every` holds for each actor; the TOLD_MAX told last are remembered.
"""

from __future__ import annotations

from hashlib import blake2b

from grandstand.internal.v1.internal_pb2 import RuleState
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.found import Found, Judged
from notify.rules.results import Results, Who

TOLD_MAX = 100


def judge(rule: Compiled, state: RuleState, results: Results, now_s: float) -> Judged:
    season = of.season_of(results)
    first = of.first_ids(results, season, rule.first)
    if season > state.season or len(first) < len(state.first):
        return Judged(_with_first(state, season, first))
    if state.first == first and season == state.season:
        return Judged(state)
    there = set(first)
    lost = [actor_id for actor_id in state.first if actor_id not in there]
    if not lost:
        return Judged(_with_first(state, season, first))
    held = list(state.first)
    came = [actor_id for actor_id in first if actor_id not in held]
    told = _told(rule, state, now_s)
    for actor_id in lost:
        place = held.index(actor_id)
        # Who came takes its place, so that what is left to tell stays where it was.
        held[place] = came.pop(0) if came else ""
        if _digest(actor_id) not in told:
            after = _with_first(state, season, [each for each in held if each])
            _tell(rule, after, told, actor_id, now_s)
            return Judged(
                after,
                Found(
                    actor=Who(actor_id),
                    rank=place + 1,
                    leader=tuple(of.first_of(results, season, 1)),
                    season=season,
                ),
            )
    return Judged(_with_first(state, season, first))


def _with_first(state: RuleState, season: int, first: list[str]) -> RuleState:
    return RuleState(season=season, first=first, told=state.told, told_at_s=state.told_at_s)


def _told(rule: Compiled, state: RuleState, now_s: float) -> dict[int, int]:
    """Who is not to be told again yet."""
    if not rule.every_s:
        return {}
    found = zip(state.told, state.told_at_s, strict=True)
    return {digest: at_s for digest, at_s in found if at_s + rule.every_s > now_s}


def _tell(rule: Compiled, state: RuleState, told: dict[int, int], actor_id: str, now_s: float) -> None:
    if rule.every_s:
        kept = [*told.items(), (_digest(actor_id), int(now_s))][-TOLD_MAX:]
        state.ClearField("told")
        state.ClearField("told_at_s")
        state.told.extend(digest for digest, _ in kept)
        state.told_at_s.extend(at_s for _, at_s in kept)


def _digest(actor_id: str) -> int:
    return int.from_bytes(blake2b(actor_id.encode(), digest_size=8).digest(), "big")
