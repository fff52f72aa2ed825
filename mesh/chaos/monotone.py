"""What a viewer may see next: results of this run only ever grow, and sealed ones stand (I5, I9). Pure.

Cursors alone would not tell of a state that is newer by its sequence and yet forgot something, as
a worker would show that took over with less than everything. All that chaos' clients send adds to
what is there, so values must not shrink either; only a poll whose votes may be changed moves
votes between its options.
"""

from __future__ import annotations

from collections.abc import Iterator

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from mesh.chaos import scene


def setback(before: TopicState, after: TopicState) -> str | None:
    """What went back from one state of a topic to the next, for a person; None when nothing did."""
    if before.stage == STAGE_SEALED and (
        after.stage != STAGE_SEALED or after.WhichOneof("value") != before.WhichOneof("value")
    ):
        return f"{before.topic}: was sealed and is not any more"
    if before.stage == STAGE_SEALED and before.tally != after.tally:
        return f"{before.topic}: changed after the seal"
    if after.stage < before.stage:
        return f"{before.topic}: the stage went back from {before.stage} to {after.stage}"
    now = dict(figures(after))
    for name, value in figures(before):
        if now.get(name, 0) < value:
            return f"{before.topic}: {name} went back from {value} to {now.get(name, 0)}"
    return None


def figures(state: TopicState) -> Iterator[tuple[str, int]]:
    """The figures of a state that never shrink, by name."""
    match state.WhichOneof("value"):
        case "tally":
            yield "voters", state.tally.voters
            if state.topic != f"poll/{scene.CHANGEABLE}":
                yield from ((option.option_id, option.votes) for option in state.tally.options)
        case "board":
            yield "actors", state.board.actors
            yield from ((entry.actor_id, entry.points) for entry in state.board.entries)
        case "pulse":
            yield from ((rate.kind, rate.total) for rate in state.pulse.kinds)
        case "metric":
            yield "count", state.metric.count
        case "audience":
            yield "uniques", state.audience.uniques
