"""I4: what a partition counts follows from the definitions in its stream, in whatever order they come."""

from __future__ import annotations

import itertools

import pytest

from aggregate.fold import FoldState
from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_SEALED,
    Board,
    CustomTopic,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Block, Partial, StoredTopic
from mesh import limits
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.partitions import partials_of

EVERY_S = 10


def fold(partition: Partition, *stream: Block) -> dict[str, Partial]:
    for block in stream:
        assert partition.fold(partition.folded + 1, block.SerializeToString()) == []
    flush = partition.take_flush()
    return {partial.topic: partial for partial in partials_of(flush)} if flush else {}


def measure(value: float, number: int, metric: str) -> Block:
    return blocks.block([blocks.row(f"metric/{metric}", "ann", origin(number), 1, value=value)])


@pytest.mark.parametrize("order", list(itertools.permutations((("a",), ("b",), ("a", "b")))))
def test_controls_of_several_changes_define_all_topics_in_any_order(order: tuple[tuple[str, ...]]) -> None:
    partition = Partition(0, Loaded())
    fold(partition, *(blocks.game_control(blocks.game(metrics=metrics)) for metrics in order))
    shown = fold(partition, measure(1.0, 1, "a"), measure(2.0, 2, "b"))
    assert (shown["metric/a"].metric.sum, shown["metric/b"].metric.sum) == (1.0, 2.0)


def test_a_takeover_knows_every_topic_that_any_control_defined() -> None:
    first, second = blocks.game(metrics=["a"], audience=True), blocks.game(metrics=["b"])
    partition = Partition(0, Loaded())
    for control in (first, second):
        partition.fold(partition.folded + 1, blocks.game_control(control).SerializeToString())
    flush = partition.take_flush()
    assert flush is not None
    (stored,) = (w.arguments for w in flush.writes if w.key.endswith(":topics"))
    defined = dict(zip(stored[::2], stored[1::2], strict=True))[f"{GAME}/"]
    loaded = Loaded(flush.state, {(GAME, ""): StoredTopic.FromString(bytes(defined))})  # type: ignore[arg-type]
    again = Partition(0, loaded)
    shown = fold(again, measure(1.0, 1, "a"), measure(2.0, 2, "b"))
    assert {"metric/a", "metric/b"} <= shown.keys()


def test_a_custom_topic_that_was_never_admitted_takes_its_later_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bytes] = []

    class Remembers:
        """A fold of its own, which notes how it was made."""

        @classmethod
        def from_state(cls, definition: CustomTopic, state: FoldState) -> Remembers:
            made.append(definition.config)
            return cls()

        def partial(self) -> object:
            from grandstand.internal.v1.internal_pb2 import CustomPartial

            return CustomPartial()

        def delta(self) -> list[object]:
            return []

        def parts(self) -> list[str]:
            return []

    monkeypatch.setattr("aggregate.topics.Custom", Remembers)
    partition = Partition(0, Loaded())
    for config in (b"1", b"2", b"2"):
        custom = CustomTopic(custom_id="c", fold="f", config=config)
        fold(partition, blocks.game_control(blocks.game(customs=[custom])))
    assert made == [b"1", b"2"]


def board(closes_at_s: float | None) -> Board:
    made = blocks.board(BOARD_MODE_SUM)
    made.opened_at.FromSeconds(NOW_S)
    made.season.starts_at.FromSeconds(NOW_S)
    made.season.every.FromSeconds(EVERY_S)
    if closes_at_s is not None:
        made.closes_at.FromNanoseconds(int(closes_at_s * 1e9))
    return made


@pytest.mark.parametrize("after_s", [EVERY_S, EVERY_S - 0.1, EVERY_S + 3])
def test_closing_a_board_begins_no_season(after_s: float) -> None:
    """Its close may fall on a season's end, and its seal comes after a grace."""
    closes_at_s = NOW_S + after_s
    last = 1 if after_s <= EVERY_S else 2

    def control(stage: Stage, at_s: float) -> Block:
        return blocks.control(board(closes_at_s), stage, at_s)

    partition = Partition(0, Loaded())
    fold(partition, blocks.control(board(None)))
    score = blocks.block([blocks.score("ann", 5, origin(1), 1)], closes_at_s - 0.05)
    fold(partition, score)
    # Received in time, and stored after the next season would have begun.
    late = blocks.block([blocks.score("ann", 2, origin(1), 2)], NOW_S + last * EVERY_S + 1)
    shown = fold(
        partition,
        control(STAGE_CLOSED, closes_at_s + 0.01),
        late,
        control(STAGE_SEALED, closes_at_s + 0.02 + limits.SEAL_GRACE_S),
    )["board/top"]
    assert shown.stage == STAGE_SEALED
    assert shown.board.current.number == last
    assert list(shown.board.current.points) == [7]
    if last == 2:
        assert shown.board.previous.number == 1
        assert shown.board.previous.sealed
