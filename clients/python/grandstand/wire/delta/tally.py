"""A poll's part of a delta: the options whose numbers changed, by their place. Pure.

The options of a poll and their order never change while it lives; if they did, no delta could say it.
"""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import TallyResult
from grandstand.gateway.v1.delta_pb2 import TallyDelta, TopicDelta
from grandstand.wire.delta.mismatch import DeltaMismatch


def diff(before: TallyResult, after: TallyResult, delta: TopicDelta) -> bool:
    """Sets `delta.tally` unless nothing changed. False: it cannot be said."""
    if before == after:
        return True
    old, new = before.options, after.options
    if len(old) != len(new):
        return False
    tally = delta.tally
    tally.voters, tally.guest_voters, tally.voided = after.voters, after.guest_voters, after.voided
    options = tally.options
    for place, (was, now) in enumerate(zip(old, new, strict=True)):
        if was == now:
            continue
        if was.option_id != now.option_id:
            return False
        options.add(place=place, votes=now.votes, weight=now.weight, guest_votes=now.guest_votes)
    return True


def apply(tally: TallyResult, delta: TallyDelta) -> None:
    """Changes `tally`. Raises DeltaMismatch for an option it does not have."""
    options = tally.options
    for changed in delta.options:
        if changed.place >= len(options):
            raise DeltaMismatch(
                f"a delta of option {changed.place} of {len(options)}, from 0; subscribe again"
            )
        option = options[changed.place]
        option.votes = changed.votes
        option.weight = changed.weight
        option.guest_votes = changed.guest_votes
    tally.voters, tally.guest_voters, tally.voided = delta.voters, delta.guest_voters, delta.voided
