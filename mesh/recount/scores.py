"""The scores of one board, an actor and a season at a time, in dictionaries. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    Board,
)
from grandstand.internal.v1.internal_pb2 import BoardPartial, SeasonShare
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.recount.verdict import EventOutcome, EventVerdict
from mesh.recount.votes import Superseded, undo

TOP_DEFAULT = 10
_GRACE_US = int(limits.SEAL_GRACE_S * 1e6)
_SEASON_MIN_US = int(limits.SEASON_MIN_S * 1e6)
_ROWS_OF_A_STAMP = 4_096


@dataclass(slots=True)
class ScoreRow:
    points: int
    """Exact; what is shown is within POINTS_MAX."""
    reached: int
    tag: int = 0
    seq: int = 0
    past: Superseded = field(default_factory=Superseded)
    fates: list[EventOutcome] = field(default_factory=list)
    """Of the scores that it is made of, those that were counted here."""


@dataclass(slots=True)
class SeasonCount:
    rows: dict[str, ScoreRow] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


class BoardCount:
    def __init__(self, board: Board) -> None:
        self.board = board
        self.seasons: dict[int, SeasonCount] = {}
        self.first = self.current = self.number_at(board.opened_at.ToMicroseconds())
        self.sealed = False
        """The season before the current one is."""
        self.last_us: float = float("inf")
        """Its time passes no further."""
        self.seasons[self.current] = SeasonCount()

    @property
    def has_seasons(self) -> bool:
        return self.board.HasField("season")

    def number_at(self, at_us: float) -> int:
        if not self.has_seasons:
            return 0
        starts_us, length_us = self._shape()
        return max(1, 1 + int(at_us - starts_us) // length_us)

    def _shape(self) -> tuple[int, int]:
        season = self.board.season
        return season.starts_at.ToMicroseconds(), max(_SEASON_MIN_US, season.every.ToMicroseconds())

    def _ends_us(self, number: int) -> int:
        starts_us, length_us = self._shape()
        return starts_us + number * length_us

    def close_at(self, closes_us: int) -> None:
        """It closes then: no later season begins than the one that runs until then."""
        self.last_us = self._ends_us(self.number_at(closes_us - 1)) - 1 if self.has_seasons else self.last_us

    def pass_time(self, now_us: float) -> None:
        if not self.has_seasons:
            return
        now_us = min(now_us, self.last_us)
        number = self.number_at(now_us)
        if number > self.current:
            before = self.seasons.get(number - 1, SeasonCount())
            self.seasons = {number - 1: before, number: SeasonCount()}
            self.current, self.sealed = number, False
        if self.current > self.first and now_us >= self._ends_us(self.current - 1) + _GRACE_US:
            self.sealed = True

    def take(self, fate: EventOutcome, event_us: float, *, behind: bool) -> None:
        """Judges a new score, and counts it if it counts. `event_us`: its time, within the partition's."""
        number = max(self.number_at(min(event_us, self.last_us)), self.first)
        is_past = number < self.current and self.current > self.first and not self.sealed
        fate.season = self.current - 1 if is_past else self.current
        season, row = self.seasons[fate.season], fate.row
        bound = wire_bounds.POINTS_MAX
        points = max(-bound, min(bound, row.signed))
        reached = fate.stamp_us * _ROWS_OF_A_STAMP + row.place
        had = season.rows.get(row.actor_id)
        if had is None:
            season.rows[row.actor_id] = ScoreRow(points, reached, row.tag, row.seq, fates=[fate])
        else:
            self._combine(had, fate, points, reached, behind=behind)
        if row.name:
            season.names[row.actor_id] = row.name

    def _combine(self, had: ScoreRow, fate: EventOutcome, points: int, reached: int, *, behind: bool) -> None:
        mode, row = self.board.mode, fate.row
        last = had.fates[-1].sequence if had.fates else 0
        if mode == BOARD_MODE_SUM:
            had.points += points
            had.reached = max(had.reached, reached)
            had.fates.append(fate)
            return
        if mode == BOARD_MODE_LAST:
            if had.tag == row.tag:
                takes = had.seq <= row.seq
            else:
                takes = had.past.takes((had.tag, had.seq), (row.tag, row.seq), behind=behind)
            if not takes:
                fate.verdict, fate.other = EventVerdict.OLDER, last
                return
            if points == had.points:
                reached = had.reached
            how = "replaced"
        else:
            worth = -points if mode == BOARD_MODE_LOWEST else points
            had_worth = -had.points if mode == BOARD_MODE_LOWEST else had.points
            if worth < had_worth or (worth == had_worth and reached >= had.reached):
                fate.verdict, fate.other = EventVerdict.NOT_BETTER, last
                return
            how = "surpassed"
        for before in had.fates:
            undo(before, how, fate)
        fate.replaced = last
        had.points, had.reached, had.tag, had.seq, had.fates = points, reached, row.tag, row.seq, [fate]

    def remove(self, actor_id: str, number: int) -> list[EventOutcome]:
        """The actor's standing of that season is gone. Returns the scores that it was made of."""
        is_past = self.current > self.first and number == self.current - 1 and not self.sealed
        if number != self.current and not is_past:
            return []
        season = self.seasons[number]
        row = season.rows.pop(actor_id, None)
        season.names.pop(actor_id, None)
        return [] if row is None else row.fates

    def figures(self) -> dict[str, object]:
        figures: dict[str, object] = {"season": self.current}
        figures |= self._season_figures(self.current, "")
        if self.has_seasons and self.current > self.first:
            figures |= self._season_figures(self.current - 1, "previous season: ")
            figures["previous season: sealed"] = self.sealed
        return figures

    def _season_figures(self, number: int, prefix: str) -> dict[str, object]:
        season, bound = self.seasons.get(number, SeasonCount()), wire_bounds.POINTS_MAX
        sign = 1 if self.board.mode == BOARD_MODE_LOWEST else -1
        shown = sorted(
            (sign * max(-bound, min(bound, row.points)), row.reached, actor)
            for actor, row in season.rows.items()
        )
        figures: dict[str, object] = {f"{prefix}actors": len(season.rows)}
        for place, (points, _, actor) in enumerate(shown[: self.board.top or TOP_DEFAULT], 1):
            figures |= _placed(prefix, place, actor, sign * points, season.names.get(actor, ""))
        return figures


def _placed(prefix: str, place: int, actor: str, points: int, name: str) -> dict[str, object]:
    called = f" called {name}" if name else ""
    return {f"{prefix}place {place}": f"{actor}{called} with {points}"}


def figures_of(board: BoardPartial) -> dict[str, object]:
    """A board's partial as figures that can be compared, by what they are called."""
    figures: dict[str, object] = {"season": board.current.number}
    figures |= _share_figures(board.current, "")
    if board.HasField("previous"):
        figures |= _share_figures(board.previous, "previous season: ")
        figures["previous season: sealed"] = board.previous.sealed
    return figures


def _share_figures(share: SeasonShare, prefix: str) -> dict[str, object]:
    figures: dict[str, object] = {f"{prefix}actors": share.actors}
    names = list(share.names) or [""] * len(share.actor_ids)
    for place, (actor, points, name) in enumerate(zip(share.actor_ids, share.points, names, strict=True), 1):
        figures |= _placed(prefix, place, actor, points, name)
    return figures
