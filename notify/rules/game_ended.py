"""The game has ended. Never missed while its definition is kept."""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, Game
from notify.rules.compiled import Compiled
from notify.rules.match import Judged, RuleMatch, once
from notify.rules.results import Results
from notify.rules.state import State


def judge(rule: Compiled, state: State, results: Results, now_s: float) -> Judged:
    game = results.definition
    if state.reached or not isinstance(game, Game) or game.stage < STAGE_CLOSED:
        return Judged(state)
    return once(state, RuleMatch())
