"""The result of a poll or board is final. Never missed, as it never changes again."""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from notify.rules import results as of
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch, once
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    if state.reached or results.stage != STAGE_SEALED or of.closes_at_s(results.definition) is None:
        return Judged(state)
    if results.topic.startswith("poll/"):
        return once(state, RuleMatch(value=of.voters(results), leader=of.options_ahead(results)))
    season = of.season_of(results)
    first = tuple(of.first_of(results, season, 1))
    return once(state, RuleMatch(value=first[0].points if first else None, leader=first, season=season))
