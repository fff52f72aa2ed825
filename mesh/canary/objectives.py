"""The objectives of the service level, and when the error budget is spent too fast. Pure.

The alerts are those of the SRE workbook (chapter 5, multiwindow, multi-burn-rate): a long window so that a
short fault wakes nobody, and a short one so that the alert ends soon after the fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FRESH_S = 0.3
"""A vote is fresh that a frame shows within this time of its sending."""
SETTLED_S = 10.0
"""By then a vote is acked and shown, or counts as unanswered or unseen."""
VOTES_A_SECOND = 1.0


@dataclass(frozen=True, slots=True)
class Objective:
    name: str
    target: float
    """The share that must be good."""
    text: str

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return 1 - self.target


FRESHNESS = Objective("freshness", 0.999, f"of acked votes are shown within {FRESH_S * 1000:g} ms")
ACKS = Objective("acks", 0.9999, f"of votes are acked within {SETTLED_S:g} s")
OBJECTIVES = (FRESHNESS, ACKS)

WINDOWS_S: Mapping[str, float] = {"5m": 300, "30m": 1_800, "1h": 3_600, "6h": 21_600, "3d": 259_200}


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """Both windows burn at `rate` or faster. At 14.4, 2 % of a month's budget are gone in an hour; at 6, 5 %
    in six hours; at 1, 10 % in three days."""

    rate: float
    long: str
    short: str

    def fires(self, burning: Mapping[str, float]) -> bool:
        """`burning`: rates by window."""
        return min(burning[self.long], burning[self.short]) >= self.rate


ALERTS = (BurnAlert(14.4, "1h", "5m"), BurnAlert(6.0, "6h", "30m"), BurnAlert(1.0, "3d", "6h"))

assert all({alert.long, alert.short} <= WINDOWS_S.keys() for alert in ALERTS)
