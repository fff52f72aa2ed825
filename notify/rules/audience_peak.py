"""The audience is larger than it ever was, by a step: 10, 20, 50, 100, 200, 500 and so on; of several at once
the last. Missed if nobody looked meanwhile."""

from __future__ import annotations

from mesh.merge.audience import merge_audience
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    viewers = merge_audience((partial.audience for partial in results.partials), now_s).viewers
    step = step_of(viewers)
    if step <= state.reached:
        return Judged(state)
    return Judged(State(reached=step), RuleMatch(value=step))


def step_of(viewers: int) -> int:
    """The greatest step that is reached; 0 for none."""
    if viewers < 10:
        return 0
    power: int = 10 ** (len(str(viewers)) - 1)
    return next(times for times in (5, 2, 1) if viewers >= times * power) * power
