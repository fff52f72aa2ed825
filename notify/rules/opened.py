"""The poll or board has opened. Missed if it was closed again before anybody looked."""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Board, Poll
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch, once
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    definition = results.definition
    if (
        state.reached
        or not isinstance(definition, Poll | Board)
        or definition.stage != STAGE_OPEN
        or definition.opened_at.ToNanoseconds() / 1e9 < rule.since_s
        or now_s >= (of.closes_at_s(definition) or float("inf"))
    ):
        return Judged(state)
    return once(state, RuleMatch())
