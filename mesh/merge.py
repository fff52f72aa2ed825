"""Merging partials: the newest share of each partition, combined into a topic's value.

A partial is absolute and carries the sequence it is folded up to, so merging is associative,
commutative and idempotent: order, repetition and loss on the way cannot change the result,
only how soon it shows. The same merge serves a hot game's partitions, `Read` and gateways.

`TopicMerge` never goes back: of one partition it keeps the partial with the greatest
sequence (I5). It holds one partial for each of the game's partitions, no more.
"""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.aggregate.v1.aggregate_pb2 import (
    BoardEntry,
    BoardResult,
    KindRate,
    OptionCount,
    PulseResult,
    TallyResult,
    TopicState,
)
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST, STAGE_UNSPECIFIED
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import limits


class TopicMerge:
    """One topic's partials, and their merged value."""

    __slots__ = ("_partials", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._partials: dict[int, Partial] = {}

    def offer(self, partial: Partial) -> bool:
        """Takes a partial unless a newer or the same one of its partition is known; True if taken."""
        known = self._partials.get(partial.partition)
        if known is not None and known.sequence >= partial.sequence:
            return False
        self._partials[partial.partition] = partial
        return True

    def is_moving(self, now_s: float) -> bool:
        """True while the value changes with time alone: a pulse with a pane in its rate window."""
        return any(
            pane.starts_at_s + limits.RATE_WINDOW_S + 1 >= now_s
            for partial in self._partials.values()
            for pane in partial.pulse.panes[-1:]
        )

    def state(self, now_s: float) -> TopicState:
        """The merged value. `now_s` (Unix seconds) matters for rates only."""
        partials = [self._partials[p] for p in sorted(self._partials)]
        state = TopicState(
            topic=self.topic,
            cursor=Cursor(positions=[Position(partition=p.partition, sequence=p.sequence) for p in partials]),
            # A poll is closed when every partition knows, sealed likewise.
            stage=min((p.stage for p in partials), default=STAGE_UNSPECIFIED),
        )
        kind = partials[0].WhichOneof("value") if partials else None
        if kind == "tally":
            state.tally.CopyFrom(merge_tally(partials))
        elif kind == "board":
            state.board.CopyFrom(merge_board(partials))
        elif kind == "pulse":
            state.pulse.CopyFrom(merge_pulse(partials, now_s))
        return state


def merge_tally(partials: Iterable[Partial]) -> TallyResult:
    votes: dict[str, int] = {}
    voters = 0
    for partial in partials:
        tally = partial.tally
        voters += tally.voters
        for option_id, count in zip(tally.option_ids, tally.votes, strict=True):
            votes[option_id] = votes.get(option_id, 0) + count
    return TallyResult(options=[OptionCount(option_id=o, votes=n) for o, n in votes.items()], voters=voters)


def merge_board(partials: Iterable[Partial]) -> BoardResult:
    """The best of all partitions' best; an actor folds in one partition, so none comes twice."""
    rows: list[tuple[int, int, str, int]] = []
    top = actors = 0
    for partial in partials:
        board = partial.board
        top = max(top, board.top)
        actors += board.actors
        sign = 1 if board.mode == BOARD_MODE_LOWEST else -1
        for actor_id, points, reached_at_us in zip(
            board.actor_ids, board.points, board.reached_at_us, strict=True
        ):
            rows.append((sign * points, reached_at_us, actor_id, points))
    rows.sort()
    return BoardResult(
        entries=[
            BoardEntry(rank=rank, actor_id=actor_id, points=points)
            for rank, (_, _, actor_id, points) in enumerate(rows[:top], start=1)
        ],
        actors=actors,
    )


def merge_pulse(partials: Iterable[Partial], now_s: float) -> PulseResult:
    """Totals, and the rate over the last RATE_WINDOW_S full seconds and the running one.

    A pane counts with the part of it that lies inside the sliding window
    (now - RATE_WINDOW_S, now]; events are taken as even within a pane.
    """
    totals: dict[str, int] = {}
    recent: dict[str, float] = {}
    opens_at_s = now_s - limits.RATE_WINDOW_S
    for partial in partials:
        pulse = partial.pulse
        for kind, total in zip(pulse.kinds, pulse.totals, strict=True):
            totals[kind] = totals.get(kind, 0) + total
        for pane in pulse.panes:
            share = min(1.0, pane.starts_at_s + 1 - opens_at_s)
            if share <= 0:
                continue
            for kind, count in zip(pulse.kinds, pane.counts, strict=False):
                recent[kind] = recent.get(kind, 0.0) + share * count
    return PulseResult(
        kinds=[
            KindRate(
                kind=kind,
                total=totals[kind],
                rate_per_s=round(recent.get(kind, 0.0) / limits.RATE_WINDOW_S, 2),
            )
            for kind in sorted(totals)
        ]
    )
