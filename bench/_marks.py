"""The marks of a fan-out benchmark: each frame's number, and when it was published. Pure.

In a poll the votes of the first option are the frame's number, and those of the second the time in
microseconds; the others fill the frame up to some 200 bytes, as polls have them. A peer's frame is a text of
the same length that begins with both numbers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse, Update
from grandstand.internal.v1.internal_pb2 import Partial
from mesh.merge import TopicMerge

OPTIONS = tuple(f"candidate-{number}" for number in range(8))
POLL = "poll/final"
_TEXT = re.compile(rb"\d{10} \d{16} ")


class Mark(NamedTuple):
    number: int
    """From 1, one more each time."""
    published_us: int


def partial_of(mark: Mark, game_id: str, partition: int) -> Partial:
    """What aggregation would publish: absolute counts, folded up to the frame's number."""
    votes = [*mark, *(mark.number * place for place in range(3, len(OPTIONS) + 1))]
    partial = Partial(
        game_id=game_id, topic=POLL, partition=partition, sequence=mark.number, stage=STAGE_OPEN
    )
    partial.tally.option_ids.extend(OPTIONS)
    partial.tally.votes.extend(votes)
    partial.tally.voters = sum(votes)
    return partial


def frame_of(partial: Partial, now_s: float) -> bytes:
    """The encoded Update that says so: what a gateway sends its viewers."""
    merge = TopicMerge(partial.topic)
    merge.offer(partial)
    response = SubscribeResponse(update=Update(topics=[merge.state(now_s, partitions=1)]))
    response.as_of.FromNanoseconds(round(now_s * 1e9))
    return response.SerializeToString()


def text_of(mark: Mark, length: int) -> bytes:
    """A peer's frame of that many bytes."""
    return f"{mark.number:010d} {mark.published_us:016d} ".encode().ljust(length, b".")


def mark_in_response(payload: bytes) -> Mark | None:
    """Of an encoded SubscribeResponse: its poll's; None where no poll is said."""
    response = SubscribeResponse.FromString(payload)
    states = response.snapshot.topics or response.update.topics
    return next((mark for state in states if (mark := _mark_of(state))), None)


def mark_in_text(payload: bytes) -> Mark | None:
    found = _TEXT.search(payload)
    if found is None:
        return None
    number, published_us = found[0].split()
    return Mark(int(number), int(published_us))


def _mark_of(state: TopicState) -> Mark | None:
    options = state.tally.options
    return Mark(options[0].votes, options[1].votes) if len(options) == len(OPTIONS) else None
