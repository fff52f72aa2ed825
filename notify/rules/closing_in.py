"""The poll or board closes by itself in this many seconds. Missed if nobody looked from then until it closed.

One that was opened, or a rule that was added, when less time was left is not told.
"""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Board, Poll
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch, once
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    definition = results.definition
    closes_at_s = of.closes_at_s(definition)
    if (
        state.reached
        or not isinstance(definition, Poll | Board)
        or definition.stage != STAGE_OPEN
        or closes_at_s is None
        or not definition.HasField("open_for")
    ):
        return Judged(state)
    opened_at_s = definition.opened_at.ToNanoseconds() / 1e9
    closes_by_itself_s = opened_at_s + definition.open_for.ToNanoseconds() / 1e9
    due_s = closes_at_s - rule.closing_in_s
    is_by_itself = abs(closes_at_s - closes_by_itself_s) < 1e-3
    if not is_by_itself or due_s < max(opened_at_s, rule.since_s) or now_s >= closes_at_s:
        return Judged(state)
    if now_s < due_s:
        return Judged(state, look_at_s=due_s)
    return once(state, RuleMatch(value=round(rule.closing_in_s)))
