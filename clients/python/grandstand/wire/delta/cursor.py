"""The part of a delta that moves a topic's cursor: the positions that moved or are new. Pure.

Applied, the positions stand in the order of their partitions, each once, as the merge writes them. A cursor
that is not in that order, lost a partition, or is unset where it was set, no delta can say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position


def diff(before: TopicState, after: TopicState, moved: Any) -> bool:
    """Adds to `moved` (a repeated field of Positions) what moved. False: it cannot be said."""
    was, now = before.cursor, after.cursor
    if was == now:
        return before.HasField("cursor") == after.HasField("cursor")
    old = {position.partition: position.sequence for position in was.positions}
    least, known = -1, 0
    for position in now.positions:
        partition = position.partition
        if partition <= least:
            return False
        least = partition
        sequence = old.get(partition)
        known += sequence is not None
        if sequence != position.sequence:
            moved.append(position)
    return known == len(old) and bool(moved)


def apply(state: TopicState, moved: Iterable[Position]) -> None:
    """Moves the cursor of `state`."""
    to = {position.partition: position.sequence for position in moved}
    if not to:
        return
    positions = state.cursor.positions
    merged = {position.partition: position.sequence for position in positions} | to
    del positions[:]
    positions.extend(Position(partition=p, sequence=merged[p]) for p in sorted(merged))
