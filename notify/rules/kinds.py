"""Which module judges which kind of rule, by the field of Rule.when."""

from __future__ import annotations

from mesh import rule_kinds
from notify.rules import (
    audience_peak,
    closing_in,
    game_ended,
    lead_changed,
    opened,
    rank_taken,
    rate_spike,
    sealed,
    season_closed,
    threshold,
)
from notify.rules.match import Judge

JUDGES: dict[str, Judge] = {
    "threshold": threshold.judge,
    "lead_changed": lead_changed.judge,
    "rank_taken": rank_taken.judge,
    "opened": opened.judge,
    "closing_in": closing_in.judge,
    "sealed": sealed.judge,
    "season_closed": season_closed.judge,
    "game_ended": game_ended.judge,
    "rate_spike": rate_spike.judge,
    "audience_peak": audience_peak.judge,
}

assert JUDGES.keys() == rule_kinds.KINDS.keys()
