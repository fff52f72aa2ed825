"""Boards for tests: blocks of scores, and a naive board to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from google.protobuf.duration_pb2 import Duration

from aggregate.board import Board
from aggregate.fold import FoldState
from aggregate.rows import Names, Rows
from grandstand.aggregate.v1.aggregate_pb2 import BoardResult
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    BoardMode,
    Season,
)
from mesh import limits
from tests.support import blocks

MODES = [BOARD_MODE_BEST, BOARD_MODE_LAST, BOARD_MODE_SUM, BOARD_MODE_LOWEST]
START_S = 1_000_000_000
START_US = START_S * 1_000_000
EVERY_S = 20
GRACE_S = int(limits.SEAL_GRACE_S)
TOP = 3


def board(mode: BoardMode, *, seasons: bool = False, top: int = TOP, opened_s: int = 0) -> catalog.Board:
    """Season 1 begins at START_S; the board is opened `opened_s` later."""
    made = blocks.board(mode, top)
    made.opened_at.FromSeconds(START_S + opened_s)
    if seasons:
        made.season.CopyFrom(Season(every=Duration(seconds=EVERY_S)))
        made.season.starts_at.FromSeconds(START_S)
    return made


@dataclass(frozen=True)
class Score:
    actor: str
    points: int
    tag: int = 1
    seq: int = 1
    before: int = 0
    row: int | None = None
    """Its place in its section; None: its place in the block here."""


@dataclass(frozen=True)
class Blk:
    """A block: its scores, stamped `at_s` after START_S; without any it is a control."""

    at_s: float
    scores: Sequence[Score] = ()
    removes: tuple[str, int] | None = None
    """Without scores: a control that takes an actor off the current season, or off that many before it."""

    @property
    def at_us(self) -> int:
        return START_US + int(self.at_s * 1e6)


def placed(scores: Iterable[Score]) -> list[Score]:
    """With their places in one section, which they keep when they are shared out."""
    return [replace(score, row=at) for at, score in enumerate(scores)]


def reached(block: Blk) -> list[int]:
    return [
        block.at_us * 4_096 + (at if score.row is None else score.row)
        for at, score in enumerate(block.scores)
    ]


def rows(block: Blk) -> Rows:
    names = sorted({score.actor for score in block.scores})
    return Rows(
        game_id=blocks.GAME,
        topic="board/top",
        at_us=block.at_us,
        stamped_us=block.at_us,
        reached=np.array(reached(block), dtype=np.uint64),
        actor=np.array([names.index(score.actor) for score in block.scores], dtype=np.uint16),
        names=Names("\n".join(names)),
        keys=np.zeros((len(block.scores), 2), dtype=np.uint64),
        value=np.array([score.points for score in block.scores], dtype=np.int64).view(np.uint64),
        origin_tag=np.array([score.tag for score in block.scores], dtype=np.uint64),
        origin_seq=np.array([score.seq for score in block.scores], dtype=np.uint64),
        origin_before=np.array([score.before for score in block.scores], dtype=np.uint64),
    )


def feed(fold: Board, block: Blk) -> bool:
    moved = fold.advance(block.at_us)
    if block.removes is not None:
        actor, back = block.removes
        return fold.remove(actor, fold.partial().current.number - back) or moved
    return (bool(block.scores) and fold.fold(rows(block))) or moved


def folded(definition: catalog.Board, stream: Iterable[Blk]) -> Board:
    fold = Board.from_state(definition, FoldState())
    for block in stream:
        feed(fold, block)
    return fold


def entries(result: BoardResult) -> list[tuple[str, int]]:
    return [(entry.actor_id, entry.points) for entry in result.entries]


@dataclass
class Oracle:
    """Every score of every season, combined from scratch when asked; no bound on anything."""

    definition: catalog.Board
    now_s: float = -(10.0**9)
    taken: dict[int, list[tuple[int, Score]]] = field(default_factory=dict)
    """By season: when each score was reached, and the score."""

    def _number(self, at_s: float) -> int:
        if not self.definition.HasField("season"):
            return 0
        opened_s = self.definition.opened_at.seconds - START_S
        return max(1, 1 + int(at_s // EVERY_S), 1 + opened_s // EVERY_S)

    @property
    def current(self) -> int:
        return self._number(self.now_s)

    @property
    def sealed(self) -> bool:
        return self.now_s >= (self.current - 1) * EVERY_S + GRACE_S

    def feed(self, block: Blk) -> None:
        self.now_s = max(self.now_s, block.at_s)
        if block.removes is not None:
            actor, back = block.removes
            if back == 0 or (back == 1 and self.current and not self.sealed):
                of_season = self.taken.get(self.current - back, [])
                of_season[:] = [(at, score) for at, score in of_season if score.actor != actor]
            return
        is_past = self._number(block.at_s) < self.current and not self.sealed
        taken = self.taken.setdefault(self.current - is_past, [])
        taken.extend(zip(reached(block), block.scores, strict=True))

    def ranked(self, number: int) -> list[tuple[str, int]]:
        """All of a season, best first."""
        by_actor: dict[str, list[tuple[int, Score]]] = {}
        for at, score in self.taken.get(number, []):
            by_actor.setdefault(score.actor, []).append((at, score))
        sign = 1 if self.definition.mode == BOARD_MODE_LOWEST else -1
        standings = [(*self._standing(scores), actor) for actor, scores in by_actor.items()]
        return [(actor, p) for p, _, actor in sorted(standings, key=lambda s: (sign * s[0], s[1], s[2]))]

    def _standing(self, scores: list[tuple[int, Score]]) -> tuple[int, int]:
        """Points, and when they were reached."""
        told = [(at, _within(score.points), score) for at, score in scores]
        match self.definition.mode:
            case catalog.BOARD_MODE_SUM:
                return _within(sum(points for _, points, _ in told)), max(at for at, _, _ in told)
            case catalog.BOARD_MODE_LAST:
                reached_at, points, last = told[0]
                highest = {last.tag: last.seq}
                for at, more, score in told[1:]:
                    if score.seq >= highest.get(score.tag, 0):
                        reached_at = reached_at if more == points else at
                        points, highest[score.tag] = more, score.seq
                return points, reached_at
        sign = 1 if self.definition.mode == BOARD_MODE_LOWEST else -1
        best = sign * min(sign * points for _, points, _ in told)
        return best, min(at for at, points, _ in told if points == best)

    def assert_shown_by(self, result: BoardResult) -> None:
        ranked = self.ranked(self.current)
        top = self.definition.top
        assert entries(result) == ranked[:top]
        assert [entry.rank for entry in result.entries] == list(range(1, len(ranked[:top]) + 1))
        assert result.actors == len(ranked)
        assert result.HasField("season") == bool(self.current)
        if self.current:
            assert result.season.number == self.current
            assert result.season.starts_at.seconds == START_S + (self.current - 1) * EVERY_S
            assert result.season.ends_at.seconds == START_S + self.current * EVERY_S
        opened_in = self._number(-(10.0**9))
        assert result.HasField("previous") == (self.current > opened_in)
        if result.HasField("previous"):
            past = self.ranked(self.current - 1)
            assert [(entry.actor_id, entry.points) for entry in result.previous.entries] == past[:top]
            assert result.previous.actors == len(past)
            assert result.previous.season.number == self.current - 1
            assert result.previous.sealed == self.sealed


def _within(points: int) -> int:
    return max(-(2**53), min(2**53, points))
