"""I2, I4: a partition's state is a pure function of its stream, and counts each event once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.partition import BadBlock, Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_SEALED,
)
from grandstand.internal.v1.internal_pb2 import Block, Partial
from mesh import limits
from tests import blocks
from tests.blocks import GAME, NOW_S, origin


def new_partition() -> Partition:
    return Partition(0, Loaded(0, {}, {}))


def fold(partition: Partition, *stream: Block) -> dict[str, Partial]:
    for block in stream:
        partition.fold(partition.folded + 1, block)
    flush = partition.take_flush()
    return {partial.topic: partial for partial in flush.partials} if flush else {}


def votes_of(partial: Partial) -> dict[str, int]:
    return dict(zip(partial.tally.option_ids, partial.tally.votes, strict=True))


def test_a_resent_event_is_counted_once() -> None:
    row = blocks.score("ann", 5, origin(1), 1)
    stream = [blocks.control(blocks.board(BOARD_MODE_SUM)), blocks.block([row]), blocks.block([row, row])]
    assert list(fold(new_partition(), *stream)["board/top"].board.points) == [5]


def test_a_redelivered_block_changes_nothing() -> None:
    partition = new_partition()
    partition.fold(1, blocks.control(blocks.board(BOARD_MODE_SUM)))
    block = blocks.block([blocks.score("ann", 5, origin(1), 1)])
    partition.fold(7, block)
    partition.fold(7, block)
    partition.fold(3, blocks.block([blocks.score("ann", 5, origin(1), 2)]))
    flush = partition.take_flush()
    assert flush is not None
    assert (flush.before, flush.after) == (0, 7)
    assert list(flush.partials[0].board.points) == [5]


def test_the_first_vote_of_a_final_poll_counts() -> None:
    stream = [
        blocks.control(blocks.poll()),
        blocks.block([blocks.vote("ann", "a", origin(1), 1), blocks.vote("ann", "b", origin(1), 2)]),
    ]
    assert votes_of(fold(new_partition(), *stream)["poll/mvp"]) == {"a": 1, "b": 0, "c": 0}


def test_the_last_vote_of_a_changeable_poll_counts_by_its_number() -> None:
    stream = [
        blocks.control(blocks.poll(changeable=True)),
        blocks.block([blocks.vote("ann", "b", origin(1), 2)]),
        blocks.block([blocks.vote("ann", "a", origin(1), 1)]),  # sent before, stored after
    ]
    assert votes_of(fold(new_partition(), *stream)["poll/mvp"]) == {"a": 0, "b": 1, "c": 0}


def test_votes_before_the_opening_and_after_the_seal_change_nothing() -> None:
    partition = new_partition()
    poll = blocks.poll()
    fold(partition, blocks.block([blocks.vote("early", "a", origin(1), 1)]))
    fold(partition, blocks.control(poll), blocks.block([blocks.vote("ann", "a", origin(1), 2)]))
    fold(partition, blocks.control(poll, STAGE_CLOSED))
    in_time = fold(partition, blocks.block([blocks.vote("bob", "b", origin(1), 3)]))
    assert votes_of(in_time["poll/mvp"]) == {"a": 1, "b": 1, "c": 0}
    sealed = fold(partition, blocks.control(poll, STAGE_SEALED))
    assert sealed["poll/mvp"].stage == STAGE_SEALED
    assert fold(partition, blocks.block([blocks.vote("late", "c", origin(1), 4)])) == {}
    assert partition.uncounted == 2


def test_a_stage_never_goes_back() -> None:
    partition = new_partition()
    poll = blocks.poll()
    fold(partition, blocks.control(poll), blocks.control(poll, STAGE_SEALED))
    assert fold(partition, blocks.control(poll)) == {}


@pytest.mark.parametrize(
    ("mode", "best"),
    [(BOARD_MODE_BEST, 9), (BOARD_MODE_LAST, 4), (BOARD_MODE_SUM, 20), (BOARD_MODE_LOWEST, 4)],
)
def test_a_board_combines_scores_by_its_mode(mode: int, best: int) -> None:
    rows = [blocks.score("ann", points, origin(1), n) for n, points in enumerate((7, 9, 4), start=1)]
    partial = fold(new_partition(), blocks.control(blocks.board(mode)), blocks.block(rows))["board/top"]
    assert list(partial.board.points) == [best]


def test_of_equal_scores_the_earlier_leads() -> None:
    partition = new_partition()
    fold(partition, blocks.control(blocks.board(BOARD_MODE_BEST)))
    fold(partition, blocks.block([blocks.score("zoe", 5, origin(1), 1)], NOW_S))
    later = fold(partition, blocks.block([blocks.score("ann", 5, origin(1), 2)], NOW_S + 1))
    assert list(later["board/top"].board.actor_ids) == ["zoe", "ann"]


def test_a_pulse_keeps_totals_and_its_newest_panes() -> None:
    partition = new_partition()
    for second in range(limits.PANES_KEPT + 20):
        partition.fold(
            second + 1, blocks.block([blocks.reaction("fire", 2, origin(1), second + 1)], NOW_S + second)
        )
    flush = partition.take_flush()
    assert flush is not None
    pulse = flush.partials[0].pulse
    assert list(pulse.totals) == [2 * (limits.PANES_KEPT + 20)]
    assert len(pulse.panes) == limits.PANES_KEPT
    assert pulse.panes[-1].starts_at_s == NOW_S + limits.PANES_KEPT + 19


def test_windows_of_dead_origins_are_forgotten_by_the_streams_own_time() -> None:
    partition = new_partition()
    fold(partition, blocks.control(blocks.poll()), blocks.block([blocks.vote("ann", "a", origin(1), 1)]))
    later = NOW_S + limits.ORIGIN_WINDOW_LIFE_S + 60
    partition.fold(partition.folded + 1, blocks.block([blocks.vote("bob", "a", origin(1), 2)], later))
    flush = partition.take_flush()
    assert flush is not None
    assert [write.arguments for write in flush.writes if write.command == "HDEL"] == [[origin(1)]]


@pytest.mark.parametrize("column", ["origin", "origin_seq", "actor", "label"])
def test_a_block_with_unequal_columns_is_refused_whole(column: str) -> None:
    partition = new_partition()
    fold(partition, blocks.control(blocks.poll()))
    bad = blocks.block([blocks.vote("ann", "a", origin(1), 1), blocks.vote("bob", "b", origin(2), 1)])
    del getattr(bad.events.sections[0], column)[1:]
    with pytest.raises(BadBlock, match="columns"):
        partition.fold(partition.folded + 1, bad)
    assert (
        fold(partition, blocks.block([blocks.vote("ann", "a", origin(1), 1)]))["poll/mvp"].tally.voters == 1
    )


def test_a_block_that_points_outside_its_dictionaries_is_refused() -> None:
    bad = blocks.block([blocks.vote("ann", "a", origin(1), 1)])
    bad.events.sections[0].actor[0] = 9
    with pytest.raises(BadBlock, match="outside"):
        new_partition().fold(1, bad)


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 60), st.sampled_from("pqrstu"), st.sampled_from("abc")),
    max_size=120,
)


@given(ROWS, st.data())
def test_any_resends_in_any_blocks_end_where_one_honest_count_ends(
    rows: list[tuple[int, int, str, str]], data: st.DataObject
) -> None:
    """Every identity has one body; rows repeat at will and are cut into blocks at will."""
    body = {(o, n): (actor, option) for o, n, actor, option in rows}
    partition = new_partition()
    partition.fold(1, blocks.control(blocks.poll(changeable=False)))
    partition.fold(2, blocks.control(blocks.board(BOARD_MODE_SUM, top=100)))
    expected_sum: Counter[str] = Counter()
    first_vote: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    for o, n, _, _ in rows:
        actor, option = body[o, n]
        if (o, n) not in seen:
            seen.add((o, n))
            expected_sum[actor] += n
            first_vote.setdefault(actor, option)
    at = 0
    while at < len(rows):
        size = data.draw(st.integers(1, 20))
        chunk = [(o, n, *body[o, n]) for o, n, _, _ in rows[at : at + size]]
        partition.fold(
            partition.folded + 1,
            blocks.block(
                [blocks.vote(actor, option, origin(o), n) for o, n, actor, option in chunk]
                + [blocks.score(actor, n, origin(o + 10), n) for o, n, actor, _ in chunk]
            ),
        )
        at += size
    flush = partition.take_flush()
    assert flush is not None
    partials = {p.topic: p for p in flush.partials}
    assert votes_of(partials["poll/mvp"]) == {o: Counter(first_vote.values())[o] for o in "abc"}
    scores = partials["board/top"].board
    assert dict(zip(scores.actor_ids, scores.points, strict=True)) == dict(expected_sum)


def test_a_flush_names_only_what_changed() -> None:
    partition = new_partition()
    fold(partition, blocks.control(blocks.poll()), blocks.control(blocks.poll("other")))
    changed = fold(partition, blocks.block([blocks.vote("ann", "a", origin(1), 1)]))
    assert set(changed) == {"poll/mvp"}
    assert changed["poll/mvp"].game_id == GAME
    assert partition.take_flush() is None
