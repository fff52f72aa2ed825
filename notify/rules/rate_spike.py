"""Reactions of a pulse come much faster than in the minute before. Again once they have slowed down since.

Missed if nobody looked meanwhile.
"""

from __future__ import annotations

from mesh import limits
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch, once
from notify.rules.results import Results
from notify.rules.state import State

_MEAN_S = 60.0


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    window_s = float(limits.RATE_WINDOW_S)
    recent = of.recent_reactions(results, now_s)
    is_spike = recent >= rule.at_least
    if is_spike:
        before_s = now_s - window_s
        mean = of.reactions(results, before_s - _MEAN_S, before_s, 10) * window_s / _MEAN_S
        is_spike = recent >= rule.times * mean
    if not is_spike:
        return Judged(State() if state.reached else state)
    if state.reached:
        return Judged(state, look_at_s=now_s + window_s)
    return once(state, RuleMatch(value=recent))
