"""A rule as it is judged: what its definition says, read once, as most results change nothing. Pure."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from grandstand.catalog.v1.catalog_pb2 import Rule

HOLD_DEFAULT_S = 2.0
BY_DEFINITION = frozenset(("opened", "closing_in", "game_ended"))
"""Kinds that go by the definition of what they judge and by time, not by results."""


class Compiled:
    """`kind`: the field of Rule.when, "" for one that this release does not know. Times in seconds."""

    __slots__ = (
        "at",
        "at_least",
        "by_definition",
        "closing_in_s",
        "each",
        "every_s",
        "first",
        "hold_s",
        "kind",
        "rule",
        "rule_id",
        "since_s",
        "times",
    )

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.rule_id = rule.rule_id
        self.kind = rule.WhichOneof("when") or ""
        self.by_definition = self.kind in BY_DEFINITION
        self.since_s = rule.since.ToNanoseconds() / 1e9
        self.every_s = _seconds(rule.at_most_every)
        self.at = rule.threshold.at
        self.each = rule.threshold.each
        lead = rule.lead_changed
        self.hold_s = _seconds(lead.hold) if lead.HasField("hold") else HOLD_DEFAULT_S
        self.first = rule.rank_taken.first
        self.closing_in_s = _seconds(rule.closing_in)
        self.times = rule.rate_spike.times
        self.at_least = rule.rate_spike.at_least


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
