"""Taking back what one actor did: its votes in a poll, its score on a board. Pure.

A correction is a control block in the actor's own partition, so it stands at one place of the stream (I4):
what is stored before it is taken back, what is stored after it counts. A poll or a board is corrected until
its seal, and so is a season. Which of the two came first is the stream's to say: the last partial of a sealed
topic carries the sequence of its seal.
"""

from __future__ import annotations

from collections.abc import Sequence

from aggregate.closing import Folded
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, STAGE_UNSPECIFIED, Board, Poll, Stage
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import BoardPartial
from grandstand.wire.errors import NotNow, Unavailable
from mesh.merge.board import newest_season


def check_stage(name: str, stage: Stage) -> None:
    """`name`: of the poll or board, for messages. Raises NotNow."""
    if stage == STAGE_UNSPECIFIED:
        raise NotNow(f"{name} is not open yet")
    if stage == STAGE_SEALED:
        raise _sealed(name)


def check_folded(name: str, at: Position, share: Folded) -> None:
    """Whether the correction at this position took effect. `share`: what its partition shows since. Raises
    NotNow (the seal came before it), Unavailable (it is not folded yet)."""
    if share.partial is None or share.applied < at.sequence:
        raise Unavailable(
            f"{name}: the change is stored at {at.sequence} of partition {at.partition} and not folded yet "
            f"(applied: {share.applied}); try again"
        )
    if share.partial.stage == STAGE_SEALED and share.partial.sequence < at.sequence:
        raise _sealed(name)


def season_of(name: str, board: Board, shares: Sequence[Folded], partition: int, asked: int) -> int:
    """The season to take a score from; 0 for a board without seasons. `asked`: 0 for the one that is shown.
    Raises NotNow, Unavailable."""
    if not board.HasField("season"):
        if asked:
            raise NotNow(f"season: is {asked}; {name} has no seasons")
        return 0
    boards = {each.partition: each.partial.board for each in shares if each.partial is not None}
    if len(boards) < len(shares):
        raise Unavailable(f"{name} is being rebuilt; try again")
    newest = newest_season(boards.values())
    number = asked or newest
    if number > newest or is_over(boards[partition], number):
        raise NotNow(f"season: is {number}, which has not begun or is sealed; {newest} is the current one")
    return number


def check_season(name: str, share: Folded, number: int) -> None:
    """Whether season `number`, which could be changed, still can be. Raises NotNow."""
    if number and share.partial is not None and is_over(share.partial.board, number):
        raise NotNow(
            f"season: {number} of {name} was sealed at the same moment; "
            "the actor's standing in it says whether the score is gone"
        )


def is_over(board: BoardPartial, number: int) -> bool:
    """Whether the partition takes no change of that season any more."""
    if number < board.current.number - 1:
        return True
    return number == board.current.number - 1 and (board.previous.sealed or not board.HasField("previous"))


def name_of(definition: Poll | Board) -> str:
    if isinstance(definition, Poll):
        return f"poll {definition.poll_id!r} of game {definition.game_id!r}"
    return f"board {definition.board_id!r} of game {definition.game_id!r}"


def _sealed(name: str) -> NotNow:
    return NotNow(f"{name} is sealed: its result is final")
