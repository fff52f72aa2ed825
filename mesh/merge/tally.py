"""Merging tallies: votes, weights and voters add up; an actor votes in one partition only."""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.aggregate.v1.aggregate_pb2 import OptionCount, TallyResult
from grandstand.internal.v1.internal_pb2 import TallyPartial


def merge_tally(partials: Iterable[TallyPartial]) -> TallyResult:
    """Every option in the poll's order. Without weights a vote weighs 1."""
    votes: dict[str, int] = {}
    weights: dict[str, int] = {}
    guest_votes: dict[str, int] = {}
    voters = guest_voters = voided = 0
    for partial in partials:
        voters += partial.voters
        guest_voters += partial.guest_voters
        voided += partial.voided
        for option_id, count in zip(partial.option_ids, partial.guest_votes, strict=False):
            guest_votes[option_id] = guest_votes.get(option_id, 0) + count
        for option_id, count, weight in zip(
            partial.option_ids, partial.votes, partial.weights or partial.votes, strict=True
        ):
            votes[option_id] = votes.get(option_id, 0) + count
            weights[option_id] = weights.get(option_id, 0) + weight
    return TallyResult(
        options=[
            OptionCount(option_id=o, votes=n, weight=weights[o], guest_votes=guest_votes.get(o, 0))
            for o, n in votes.items()
        ],
        voters=voters,
        guest_voters=guest_voters,
        voided=voided,
    )
