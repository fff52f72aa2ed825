"""Boards for tests: blocks of scores, and a naive board to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.duration_pb2 import Duration

from aggregate.board import Board
from aggregate.fold import State
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
from tests import blocks

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


@dataclass(frozen=True)
class Blk:
    """A block: its scores, stamped `at_s` after START_S; without any it is a control."""

    at_s: float
    scores: Sequence[Score] = ()

    @property
    def at_us(self) -> int:
        return START_US + int(self.at_s * 1e6)


def rows(block: Blk) -> Rows:
    names = sorted({score.actor for score in block.scores})
    return Rows(
        game_id=blocks.GAME,
        topic="board/top",
        at_us=block.at_us,
        stamped_us=block.at_us,
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
    return (bool(block.scores) and fold.fold(rows(block))) or moved


def folded(definition: catalog.Board, stream: Iterable[Blk]) -> Board:
    fold = Board.from_state(definition, State())
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
    taken: dict[int, list[tuple[float, Score]]] = field(default_factory=dict)

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
        is_past = self._number(block.at_s) < self.current and not self.sealed
        self.taken.setdefault(self.current - is_past, []).extend(
            (block.at_s, score) for score in block.scores
        )

    def ranked(self, number: int) -> list[tuple[str, int]]:
        """All of a season, best first."""
        by_actor: dict[str, list[tuple[float, Score]]] = {}
        for at_s, score in self.taken.get(number, []):
            by_actor.setdefault(score.actor, []).append((at_s, score))
        sign = 1 if self.definition.mode == BOARD_MODE_LOWEST else -1
        standings = [(*self._standing(scores), actor) for actor, scores in by_actor.items()]
        return [(actor, p) for p, _, actor in sorted(standings, key=lambda s: (sign * s[0], s[1], s[2]))]

    def _standing(self, scores: list[tuple[float, Score]]) -> tuple[int, float]:
        told = [(at_s, max(-(2**53), min(2**53, score.points)), score) for at_s, score in scores]
        mode = self.definition.mode
        if mode == BOARD_MODE_BEST:
            return max(p for _, p, _ in told), min(at for at, p, _ in told if p == max(q for _, q, _ in told))
        if mode == BOARD_MODE_LOWEST:
            return min(p for _, p, _ in told), min(at for at, p, _ in told if p == min(q for _, q, _ in told))
        at_s, points, last = told[0]
        highest = {last.tag: last.seq}
        for then_s, more, score in told[1:]:
            if mode == BOARD_MODE_SUM:
                total = max(-(2**53), min(2**53, points + more))
                at_s = at_s if total == points else max(at_s, then_s)
                points = total
            elif score.seq >= highest.get(score.tag, 0):
                at_s = at_s if more == points else then_s
                points, highest[score.tag] = more, score.seq
        return points, at_s

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
