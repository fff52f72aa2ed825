"""Which season of which board a standing is of, and what a standing says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, SeasonSpan
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST
from grandstand.wire.errors import Unknown, shown
from mesh.merge.board import merge_board
from mesh.pseudonyms import PublicId
from mesh.redis.share import Share


class BoardName(NamedTuple):
    """A board, and over how many partitions its game is spread."""

    game_id: str
    board_id: str
    spread: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """One season of one board; `season` is None for a board without seasons."""

    game_id: str
    board_id: str
    spread: int
    lowest_leads: bool
    season: SeasonSpan | None

    @property
    def topic(self) -> str:
        return f"board/{self.board_id}"

    @property
    def part(self) -> str:
        """The name of its part of the stored state."""
        return "" if self.season is None else str(self.season.number)


def ranking_of(
    game_id: str, spread: int, board_id: str, shares: Iterable[Share], *, previous: bool = False
) -> Ranking:
    """The season that is shown, or the one before it. Raises Unknown."""
    topic = f"board/{board_id}"
    boards = [share.partials[topic].board for share in shares if topic in share.partials]
    if not boards:
        raise Unknown(f"board {shown(board_id)} is not known in game {shown(game_id)}")
    result = merge_board(boards)
    if previous and not result.HasField("previous"):
        why = "is in its first season" if result.HasField("season") else "has no seasons"
        raise Unknown(f"previous_season: board {shown(board_id)} of game {shown(game_id)} {why}")
    span = result.previous.season if previous else result.season
    return Ranking(
        game_id=game_id,
        board_id=board_id,
        spread=spread,
        lowest_leads=boards[0].mode == BOARD_MODE_LOWEST,
        season=span if result.HasField("season") else None,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """`entry` is None for an actor without a score; `neighbours` are best first and include it.
    `applied`: of each partition, the sequence it was folded up to when it was read."""

    entry: BoardEntry | None
    neighbours: Sequence[BoardEntry]
    actors: int
    applied: Mapping[int, int]

    def shown_as(self, public: PublicId) -> Standing:
        """The same with the ids under which others see the actors."""
        return Standing(
            None if self.entry is None else _shown_as([self.entry], public)[0],
            _shown_as(self.neighbours, public),
            self.actors,
            self.applied,
        )


def _shown_as(entries: Sequence[BoardEntry], public: PublicId) -> list[BoardEntry]:
    ids = public([entry.actor_id for entry in entries])
    return [
        BoardEntry(rank=entry.rank, actor_id=shown, points=entry.points, name=entry.name)
        for shown, entry in zip(ids, entries, strict=True)
    ]
