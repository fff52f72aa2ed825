"""What a viewer may see next: results of this run only ever grow, and sealed ones stand (I5, I9). Pure.

Cursors alone would not tell of a state that is newer by its sequence and yet forgot something, as
a worker would show that took over with less than everything. All that chaos' clients send adds to
what is there, so values must not shrink either; only a poll whose votes may be changed moves
votes between its options.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, BoardResult, TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from toolbox.chaos import scene


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
    if before.board.HasField("season"):
        return _season_setback(before, after)
    now = dict(figures(after))
    for name, value in figures(before):
        if now.get(name, 0) < value:
            return f"{before.topic}: {name} went back from {value} to {now.get(name, 0)}"
    return None


def figures(state: TopicState) -> Iterator[tuple[str, int]]:
    """The figures of a state that never shrink, by name; none of a board with seasons, which begin again."""
    match state.WhichOneof("value"):
        case "tally":
            yield "voters", state.tally.voters
            if state.topic != f"poll/{scene.CHANGEABLE}":
                yield from ((option.option_id, option.votes) for option in state.tally.options)
        case "board" if not state.board.HasField("season"):
            yield "actors", state.board.actors
            yield from ((entry.actor_id, entry.points) for entry in state.board.entries)
        case "pulse":
            yield from ((rate.kind, rate.total) for rate in state.pulse.kinds)
        case "metric":
            yield "count", state.metric.count
        case "audience":
            yield "uniques", state.audience.uniques


def seasons_of(board: BoardResult) -> Iterator[tuple[int, bool, dict[str, int]]]:
    """The seasons that a board shows: number, whether it is sealed, and the points by actor."""
    yield board.season.number, False, _points(board.entries)
    if board.HasField("previous"):
        past = board.previous
        yield past.season.number, past.sealed, _points(past.entries)


def _points(entries: Iterable[BoardEntry]) -> dict[str, int]:
    return {entry.actor_id: entry.points for entry in entries}


def _season_setback(before: TopicState, after: TopicState) -> str | None:
    """Within one season points only grow, and a sealed one stands; seasons follow each other."""
    if after.board.season.number < before.board.season.number:
        return f"{before.topic}: season {after.board.season.number} came after {before.board.season.number}"
    now = {number: (sealed, points) for number, sealed, points in seasons_of(after.board)}
    for number, was_sealed, was in seasons_of(before.board):
        if number not in now:
            continue
        sealed, points = now[number]
        if was_sealed and (points != was or not sealed):
            return f"{before.topic}: season {number} changed after its seal"
        for actor, value in was.items():
            if (left := points.get(actor, 0)) < value:
                return f"{before.topic}: {actor} in season {number} went back from {value} to {left}"
    return None
