"""Another option of a poll, or another actor on a board, leads, and has for as long as `hold`.

Who is level with the one told last does not lead. The first who ever leads is no change, and is stored
without a notice: so a change of lead is found though the evaluator died before it fired for the first time.
In a new season of a board the first who is seen to lead is where it starts. Missed is a lead that did not
last as long as `hold`, and one that came and went while nobody looked. A takeover begins the hold again, and
so does a clock that is set back to before it began.
"""

from __future__ import annotations

from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results, Who
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    ahead, season = _ahead(results)
    if season > state.season:
        state = State(season=season)
    leader, leads = state.leader, ahead[0] if len(ahead) == 1 else None
    if leads is None or leads.id == leader:
        return Judged(_without_candidate(state) if state.candidate else state)
    if not leader:
        return Judged(State(season=season, leader=leads.id), keep=True)
    is_candidate = state.candidate == leads.id and state.candidate_since_us <= now_s * 1e6
    since_s = state.candidate_since_us / 1e6 if is_candidate else now_s
    if now_s - since_s >= rule.hold_s:
        after = State(season=season, leader=leads.id)
        return Judged(after, RuleMatch(value=leads.points, leader=ahead, before=Who(leader), season=season))
    if not is_candidate:
        state = state._replace(candidate=leads.id, candidate_since_us=int(now_s * 1e6))
    # A microsecond may be lost on the way.
    return Judged(state, look_at_s=since_s + rule.hold_s + 1e-6)


def _ahead(results: Results) -> tuple[tuple[Who, ...], int]:
    if results.topic.startswith("poll/"):
        return of.options_ahead(results), 0
    season = of.season_of(results)
    return tuple(of.first_of(results, season, 1)), season


def _without_candidate(state: State) -> State:
    return state._replace(candidate="", candidate_since_us=0)
