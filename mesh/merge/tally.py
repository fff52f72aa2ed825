"""Merging tallies: votes, weights and voters add up; an actor votes in one partition only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grandstand.aggregate.v1.aggregate_pb2 import OptionCount, TallyResult
from grandstand.internal.v1.internal_pb2 import TallyPartial


class TallySum(NamedTuple):
    """What a tally says; of each option, in the poll's order, one number in each column."""

    option_ids: list[str]
    votes: list[int]
    weights: list[int]
    """Without weights a vote weighs 1."""
    guest_votes: list[int]
    voters: int
    guest_voters: int
    voided: int


def sum_tallies(partials: Sequence[TallyPartial]) -> TallySum:
    if len(partials) == 1:
        return sum_tally(partials[0])
    places: dict[str, int] = {}
    for partial in partials:
        for option_id in partial.option_ids:
            places.setdefault(option_id, len(places))
    votes_of, weights_of, guests_of = ([0] * len(places) for _ in range(3))
    for partial in partials:
        columns = (partial.votes, partial.weights or partial.votes, _guest_votes(partial, len(partial.votes)))
        for option_id, count, weight, guest_count in zip(partial.option_ids, *columns, strict=True):
            place = places[option_id]
            votes_of[place] += count
            weights_of[place] += weight
            guests_of[place] += guest_count
    return TallySum(
        list(places),
        votes_of,
        weights_of,
        guests_of,
        sum(partial.voters for partial in partials),
        sum(partial.guest_voters for partial in partials),
        sum(partial.voided for partial in partials),
    )


def _guest_votes(partial: TallyPartial, options: int) -> list[int]:
    guest_votes = partial.guest_votes
    if not guest_votes:
        return [0] * options
    found = guest_votes[:]
    return found if len(found) == options else found[:options] + [0] * (options - len(found))


def sum_tally(partial: TallyPartial) -> TallySum:
    """Of one partition: the usual case, of which there are thousands each second."""
    votes, guest_votes = partial.votes[:], partial.guest_votes[:]
    if len(guest_votes) != len(votes):
        guest_votes = _guest_votes(partial, len(votes))
    return TallySum(
        partial.option_ids[:],
        votes,
        partial.weights[:] or votes,
        guest_votes,
        partial.voters,
        partial.guest_voters,
        partial.voided,
    )


def tally_of(tally: TallySum) -> TallyResult:
    return TallyResult(
        options=[
            OptionCount(option_id=option_id, votes=votes, weight=weight, guest_votes=guest_votes)
            for option_id, votes, weight, guest_votes in zip(
                tally.option_ids, tally.votes, tally.weights, tally.guest_votes, strict=True
            )
        ],
        voters=tally.voters,
        guest_voters=tally.guest_voters,
        voided=tally.voided,
    )


def merge_tally(partials: Iterable[TallyPartial]) -> TallyResult:
    """Every option in the poll's order."""
    return tally_of(sum_tallies(list(partials)))
