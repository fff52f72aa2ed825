"""Merging boards: the best of all partitions' best; an actor folds in one partition, so none comes twice.

Partitions learn of a new season one after the other. The newest season that any of them has
begun is shown; what a partition holds of the season before it, as its current or its previous
one, is merged into `previous`. That is sealed once every partition has sealed it: one that is
still in it, or has not even begun it, may yet bring more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, BoardResult, PastSeason
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST
from grandstand.internal.v1.internal_pb2 import BoardPartial, SeasonShare
from mesh import seasons
from mesh.pseudonyms import UNKEYED, PublicId


def merge_board(partials: Iterable[BoardPartial], public: PublicId = UNKEYED) -> BoardResult:
    """`public`: under which ids the actors are shown."""
    boards = list(partials)
    if not boards:
        return BoardResult()
    top = max(board.top for board in boards)
    lowest_leads = boards[0].mode == BOARD_MODE_LOWEST
    number = newest_season(boards)
    shown = _shares(boards, number)
    result = BoardResult(
        entries=_best(shown, top, public, lowest_leads=lowest_leads), actors=sum(s.actors for s in shown)
    )
    season = boards[0].season
    if number:
        result.season.CopyFrom(seasons.span_of(season, number))
    if past := _shares(boards, number - 1):
        result.previous.CopyFrom(
            PastSeason(
                season=seasons.span_of(season, number - 1),
                entries=_best(past, top, public, lowest_leads=lowest_leads),
                actors=sum(s.actors for s in past),
                sealed=all(b.current.number == number and b.previous.sealed for b in boards),
            )
        )
    return result


def newest_season(boards: Iterable[BoardPartial]) -> int:
    """The number of the season that is shown; 0 for a board without seasons."""
    return max((board.current.number for board in boards), default=0)


def _shares(boards: Iterable[BoardPartial], number: int) -> list[SeasonShare]:
    """What there is of a season; number 0 is that of a board without seasons."""
    return [
        share
        for board in boards
        for share in ([board.current, board.previous] if board.HasField("previous") else [board.current])
        if share.number == number
    ]


def _best(
    shares: Sequence[SeasonShare], top: int, public: PublicId, *, lowest_leads: bool
) -> list[BoardEntry]:
    sign = 1 if lowest_leads else -1
    rows = sorted(
        (sign * points, reached, actor_id, points)
        for share in shares
        for actor_id, points, reached in zip(share.actor_ids, share.points, share.reached, strict=True)
    )
    best = rows[:top]
    ids = public([actor_id for _, _, actor_id, _ in best])
    if not any(share.names for share in shares):
        return [
            BoardEntry(rank=rank, actor_id=shown, points=points)
            for rank, (shown, (_, _, _, points)) in enumerate(zip(ids, best, strict=True), start=1)
        ]
    names = {
        actor_id: name
        for share in shares
        if share.names
        for actor_id, name in zip(share.actor_ids, share.names, strict=True)
    }
    return [
        BoardEntry(rank=rank, actor_id=shown, points=points, name=names.get(actor_id))
        for rank, (shown, (_, _, actor_id, points)) in enumerate(zip(ids, best, strict=True), start=1)
    ]
