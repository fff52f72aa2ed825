"""What the canary counts, by outcome: for its metrics, the status line and the objectives. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from mesh.canary.burn_rates import BurnRates
from mesh.canary.objectives import ACKS, ALERTS, FRESHNESS
from mesh.canary.votes import JudgedVote, VoteOutcome, is_fresh
from mesh.metrics.histogram import Histogram

FRESHNESS_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
"""One ends at the objective's bound, so that a query can tell the good ones."""


class Measurements:
    def __init__(self) -> None:
        self.votes: dict[str, int] = dict.fromkeys(VoteOutcome, 0)
        self.unseen = 0
        self.freshness = Histogram(FRESHNESS_BOUNDS_S)
        self.burning = {each.name: BurnRates(each) for each in (FRESHNESS, ACKS)}

    def count(self, judged: Iterable[JudgedVote], now_s: float) -> None:
        for each in judged:
            if each.outcome is not None:
                self.votes[each.outcome] += 1
                is_good = each.outcome is VoteOutcome.ACKED
                self.burning[ACKS.name].count(is_good=is_good, now_s=now_s)
                continue
            if each.seen_after_s is None:
                self.unseen += 1
            else:
                self.freshness.observe(each.seen_after_s)
            self.burning[FRESHNESS.name].count(is_good=is_fresh(each), now_s=now_s)

    def burn_rates(self, now_s: float) -> dict[tuple[str, str], float]:
        """By objective and window."""
        return {
            (name, window): rate
            for name, rates in self.burning.items()
            for window, rate in rates.by_window(now_s).items()
        }

    def alerts(self, now_s: float) -> list[dict[str, Any]]:
        """Those that fire, the most urgent of each objective."""
        found = []
        for name, rates in self.burning.items():
            by_window = rates.by_window(now_s)
            fires = next((alert for alert in ALERTS if alert.fires(by_window)), None)
            if fires is not None:
                found.append(
                    {"objective": name, "rate": fires.rate, "long": fires.long, "short": fires.short}
                )
        return found


def quantile(ascending: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all do not exceed; None of none."""
    if not ascending:
        return None
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
