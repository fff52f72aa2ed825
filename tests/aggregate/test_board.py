"""Boards: every mode, ties, seasons and what is stored of them, against naive boards (I4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.board import Board
from aggregate.fold import Change, DeleteFields, Drop, FoldState, Rank, SetFields, Unrank
from aggregate.leaders import Key, Leaders
from grandstand.aggregate.v1.aggregate_pb2 import BoardResult
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    BoardMode,
)
from grandstand.internal.v1.internal_pb2 import BoardPartial
from grandstand.wire import ids
from mesh.merge.board import merge_board
from tests.support.boards import (
    EVERY_S,
    GRACE_S,
    MODES,
    START_US,
    Blk,
    Oracle,
    Score,
    board,
    entries,
    feed,
    folded,
    placed,
)

SCORES = st.builds(
    Score,
    actor=st.sampled_from("abcdefgh"),
    points=st.one_of(st.integers(-3, 3), st.sampled_from([-(2**53), 2**53, -(2**63), 2**63 - 1])),
    tag=st.sampled_from([1, 2, 2**64 - 1]),
    seq=st.integers(1, 9),
)
MOMENTS = st.integers(0, 7 * EVERY_S) | st.sampled_from([-5, 19.999999, 20, 28, 27.999999, 40, 48, 60.000001])
REMOVES = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0, 0, 1, 2]))
STREAM = st.lists(
    st.builds(Blk, at_s=MOMENTS, scores=st.lists(SCORES, max_size=6))
    | st.builds(Blk, at_s=MOMENTS, removes=REMOVES),
    max_size=14,
)


class Stored:
    """What Redis holds of one board, as it would carry out the changes."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.rankings: dict[str, dict[str, float]] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case SetFields():
                    assert change.flat
                    for name, value in zip(change.flat[::2], change.flat[1::2], strict=True):
                        assert isinstance(name, str)
                        assert isinstance(value, bytes)
                        self.hashes.setdefault(change.part, {})[name.encode()] = value
                case DeleteFields():
                    assert change.names
                    for name in change.names:
                        del self.hashes[change.part][name.encode()]
                case Rank():
                    assert change.flat
                    for score, member in zip(change.flat[::2], change.flat[1::2], strict=True):
                        assert isinstance(member, str)
                        self.rankings.setdefault(change.part, {})[member] = float(score)
                case Unrank():
                    for member in change.members:
                        assert member in self.rankings.get(change.part, {}), f"{member} was never ranked"
                        del self.rankings[change.part][member]
                case Drop():
                    self.hashes.pop(change.part, None)
                    self.rankings.pop(change.part, None)
                case _:
                    raise AssertionError(f"a board has no logs: {change}")

    def state(self, parts: Sequence[str]) -> FoldState:
        return FoldState(hashes={part: dict(self.hashes.get(part, {})) for part in parts})

    def ranked(self, part: str) -> list[str]:
        order = sorted(self.rankings.get(part, {}).items(), key=lambda item: (item[1], item[0].encode()))
        return [member[16:] for member, _ in order]

    def holds(self) -> tuple[object, ...]:
        return tuple({part: of for part, of in held.items() if of} for held in (self.hashes, self.rankings))


@given(st.sampled_from(MODES), st.booleans(), st.integers(1, 9), st.sampled_from([0, 0, 0, 50, -50]), STREAM)
def test_a_board_shows_what_a_naive_one_would(
    mode: BoardMode, seasons: bool, top: int, opened_s: int, stream: list[Blk]
) -> None:
    definition = board(mode, seasons=seasons, top=top, opened_s=opened_s)
    oracle = Oracle(definition)
    fold = Board.from_state(definition, FoldState())
    before = fold.partial()
    for block in stream:
        changed = feed(fold, block)
        oracle.feed(block)
        oracle.assert_shown_by(merge_board([fold.partial()]))
        assert changed or fold.partial() == before
        before = fold.partial()


@settings(max_examples=100)
@given(st.data(), st.sampled_from(MODES), st.booleans(), STREAM)
def test_a_fold_that_is_stored_and_read_back_anywhere_goes_on_the_same(
    data: st.DataObject, mode: BoardMode, seasons: bool, stream: list[Blk]
) -> None:
    definition = board(mode, seasons=seasons)
    whole = Board.from_state(definition, FoldState())
    fold, stored = Board.from_state(definition, FoldState()), Stored()
    for block in stream:
        assert feed(fold, block) == feed(whole, block)
        if data.draw(st.booleans(), label="flush"):
            stored.apply(fold.delta())
            encoded = Stored()
            encoded.apply(whole.encode())
            assert stored.holds() == encoded.holds()
            assert set(stored.hashes) <= set(fold.parts())
            if data.draw(st.booleans(), label="take over"):
                fold = Board.from_state(definition, stored.state(fold.parts()))
        assert fold.partial() == whole.partial()


@given(st.sampled_from(MODES), st.booleans(), STREAM, STREAM)
def test_what_is_encoded_takes_later_deltas(
    mode: BoardMode, seasons: bool, early: list[Blk], late: list[Blk]
) -> None:
    definition = board(mode, seasons=seasons)
    fold, stored = folded(definition, early), Stored()
    stored.apply(fold.encode())
    fold.delta()
    for block in late:
        feed(fold, block)
        stored.apply(fold.delta())
    encoded = Stored()
    encoded.apply(fold.encode())
    assert stored.holds() == encoded.holds()
    assert fold.delta() == []


@given(st.sampled_from(MODES), st.booleans(), STREAM)
def test_the_ranking_holds_everyone_in_the_boards_order(
    mode: BoardMode, seasons: bool, stream: list[Blk]
) -> None:
    oracle, stored = Oracle(board(mode, seasons=seasons)), Stored()
    fold = Board.from_state(oracle.definition, FoldState())
    for block in stream:
        feed(fold, block)
        oracle.feed(block)
        stored.apply(fold.delta())
    part = str(oracle.current) if seasons else ""
    assert stored.ranked(part) == [actor for actor, _ in oracle.ranked(oracle.current)]


@given(st.sampled_from(MODES), st.booleans(), st.integers(2, 4), st.randoms(use_true_random=False), STREAM)
def test_the_merge_of_a_spread_boards_partitions_is_one_fold_of_all(
    mode: BoardMode, seasons: bool, spread: int, random: object, stream: list[Blk]
) -> None:
    definition = board(mode, seasons=seasons)
    folds = [Board.from_state(definition, FoldState()) for _ in range(spread)]
    for block in stream:
        shares: dict[int, list[Score]] = {}
        for score in placed(block.scores):
            shares.setdefault(ids.stable_hash(score.actor) % spread, []).append(score)
        for at, fold in enumerate(folds):
            fold.advance(block.at_us)
            feed(fold, Blk(block.at_s, shares.get(at, []), block.removes))
    partials = [fold.partial() for fold in folds]
    whole = folded(definition, stream).partial()
    merged = merge_board(partials)
    assert merged == merge_board([whole])
    random.shuffle(partials)  # type: ignore[attr-defined]
    assert merge_board(partials) == merged


@given(st.data(), st.sampled_from([BOARD_MODE_BEST, BOARD_MODE_LOWEST, BOARD_MODE_SUM]), STREAM)
def test_best_lowest_and_sum_do_not_depend_on_the_order_of_blocks(
    data: st.DataObject, mode: BoardMode, stream: list[Blk]
) -> None:
    """Nor of the rows, if they keep their places; nor of when it is stored and read back."""
    stream = [Blk(block.at_s, placed(block.scores)) for block in stream]
    rows = [Blk(block.at_s, [score]) for block in stream for score in block.scores]
    definition, taken_over_at = board(mode, top=8), data.draw(st.integers(0, len(rows)))
    reordered = data.draw(st.permutations(rows))
    fold, stored = folded(definition, reordered[:taken_over_at]), Stored()
    stored.apply(fold.delta())
    fold = Board.from_state(definition, stored.state([""]))
    for block in reordered[taken_over_at:]:
        feed(fold, block)
    assert fold.partial() == folded(definition, stream).partial()


def test_of_equal_scores_the_one_reached_first_leads() -> None:
    stream = [Blk(1, [Score("z", 5), Score("b", 7)]), Blk(2, [Score("c", 7), Score("a", 7), Score("z", 5)])]
    shown = merge_board([folded(board(BOARD_MODE_BEST), stream).partial()])
    assert entries(shown) == [("b", 7), ("c", 7), ("a", 7)]
    two_ingests = [Blk(1, [Score("z", 7)]), Blk(1, [Score("b", 7)])]
    assert entries(merge_board([folded(board(BOARD_MODE_BEST), two_ingests).partial()])) == [
        ("b", 7),
        ("z", 7),
    ]


def test_a_sum_that_passes_what_is_shown_comes_back_to_what_it_is() -> None:
    for mode_sign in (1, -1):
        parts = [mode_sign * points for points in (2**53, 1_000, -1_000, 2**53, -(2**53), -7)]
        for order in itertools.permutations(range(len(parts)), len(parts)):
            blocks = [Blk(n, [Score("a", parts[at], seq=at + 1)]) for n, at in enumerate(order)]
            fold = folded(board(BOARD_MODE_SUM), blocks)
            assert entries(merge_board([fold.partial()])) == [("a", mode_sign * (2**53 - 7))]


def test_a_resend_that_is_stored_late_does_not_undo_what_followed_it() -> None:
    stream = [Blk(1, [Score("a", 2, seq=8)]), Blk(2, [Score("a", 1, seq=7)])]
    assert entries(merge_board([folded(board(BOARD_MODE_LAST), stream).partial()])) == [("a", 2)]
    other = [stream[0], Blk(2, [Score("a", 1, tag=2, seq=7)])]
    assert entries(merge_board([folded(board(BOARD_MODE_LAST), other).partial()])) == [("a", 1)]


def test_a_sum_is_reached_when_the_latest_of_its_parts_came() -> None:
    stream = [Blk(3, [Score("a", 1)]), Blk(2, [Score("b", 2)]), Blk(1, [Score("a", 1)])]
    assert entries(merge_board([folded(board(BOARD_MODE_SUM), stream).partial()])) == [("b", 2), ("a", 2)]


def test_a_score_that_is_told_again_is_not_reached_again() -> None:
    stream = [Blk(1, [Score("b", 4)]), Blk(2, [Score("a", 4)]), Blk(3, [Score("b", 4, seq=2)])]
    assert entries(merge_board([folded(board(BOARD_MODE_LAST), stream).partial()])) == [("b", 4), ("a", 4)]


def test_a_season_is_kept_while_the_next_runs_and_takes_what_comes_within_the_grace() -> None:
    fold = folded(
        board(BOARD_MODE_SUM, seasons=True),
        [Blk(5, [Score("a", 3)]), Blk(21, [Score("b", 1)]), Blk(19, [Score("a", 4)])],
    )
    shown = merge_board([fold.partial()])
    assert (shown.season.number, entries(shown)) == (2, [("b", 1)])
    assert [(e.actor_id, e.points) for e in shown.previous.entries] == [("a", 7)]
    assert not shown.previous.sealed
    assert fold.advance(START_US + (EVERY_S + GRACE_S) * 1_000_000)
    assert merge_board([fold.partial()]).previous.sealed
    assert feed(fold, Blk(19, [Score("a", 9)])), "no score is dropped"
    shown = merge_board([fold.partial()])
    assert [(e.actor_id, e.points) for e in shown.previous.entries] == [("a", 7)], "sealed, it never changes"
    assert entries(shown) == [("a", 9), ("b", 1)]


def test_an_actor_that_is_removed_begins_anew_and_not_in_a_season_that_is_sealed() -> None:
    fold = folded(board(BOARD_MODE_SUM, seasons=True), [Blk(5, [Score("a", 3), Score("b", 2)])])
    assert feed(fold, Blk(6, removes=("a", 0)))
    assert not feed(fold, Blk(6, removes=("a", 0))), "removing twice is removing once"
    feed(fold, Blk(7, [Score("a", 1, seq=2)]))
    assert entries(merge_board([fold.partial()])) == [("b", 2), ("a", 1)]
    feed(fold, Blk(21, removes=("b", 1)))
    shown = merge_board([fold.partial()])
    assert [(e.actor_id, e.points) for e in shown.previous.entries] == [("a", 1)]
    feed(fold, Blk(EVERY_S + GRACE_S))
    assert not feed(fold, Blk(EVERY_S + GRACE_S, removes=("a", 1)))
    assert merge_board([fold.partial()]).previous.actors == 1


def test_a_season_begins_on_an_idle_board_too() -> None:
    fold = folded(board(BOARD_MODE_SUM, seasons=True), [Blk(5, [Score("a", 3)])])
    stored = Stored()
    stored.apply(fold.delta())
    assert fold.advance(START_US + 3 * EVERY_S * 1_000_000)
    shown = merge_board([fold.partial()])
    assert (shown.season.number, shown.actors, shown.previous.actors) == (4, 0, 0)
    assert shown.previous.season.number == 3
    changes = fold.delta()
    assert Drop("1") in changes
    stored.apply(changes)
    again = Board.from_state(board(BOARD_MODE_SUM, seasons=True), stored.state(fold.parts()))
    assert again.partial() == fold.partial()


def test_a_board_opened_in_a_later_season_has_none_before_it() -> None:
    fold = folded(board(BOARD_MODE_BEST, seasons=True, opened_s=90), [Blk(91, [Score("a", 1)])])
    shown = merge_board([fold.partial()])
    assert shown.season.number == 5
    assert not shown.HasField("previous")


def test_a_partition_that_lags_behind_a_season_is_merged_into_it() -> None:
    definition = board(BOARD_MODE_BEST, seasons=True)
    ahead = folded(definition, [Blk(5, [Score("a", 5)]), Blk(21, [Score("b", 1)]), Blk(29)])
    lagging = folded(definition, [Blk(6, [Score("c", 9)])])
    shown = merge_board([lagging.partial(), ahead.partial()])
    assert (shown.season.number, entries(shown)) == (2, [("b", 1)])
    assert [(e.rank, e.actor_id) for e in shown.previous.entries] == [(1, "c"), (2, "a")]
    assert not shown.previous.sealed, "one partition may still bring more"
    lagging.advance(START_US + 29_000_000)
    assert merge_board([lagging.partial(), ahead.partial()]).previous.sealed
    far_ahead = folded(definition, [Blk(69)])
    assert not merge_board([lagging.partial(), far_ahead.partial()]).previous.sealed


def test_a_board_without_partials_is_empty() -> None:
    assert merge_board([]) == BoardResult()
    assert merge_board([BoardPartial(mode=BOARD_MODE_BEST, top=3)]) == BoardResult()


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 6), st.integers(0, 2)), max_size=120),
    st.integers(0, 30),
)
def test_the_leaders_are_the_best_of_all_after_any_moves(
    top: int, moves: list[tuple[int, int | None, int]], at_first: int
) -> None:
    keys: dict[int, Key] = {n: (n % 5, n % 3, str(n)) for n in range(at_first)}
    leaders = Leaders(top, lambda count: sorted(keys.values())[:count], room_min=0)
    for actor, score, at_us in moves:
        old, new = keys.pop(actor, None), None if score is None else (score, at_us, str(actor))
        if new is not None:
            keys[actor] = new
        leaders.move(old, new)
        assert leaders.best() == sorted(keys.values())[:top]


def test_leaders_that_fall_seldom_cost_a_look_at_everyone() -> None:
    keys: dict[int, Key] = {n: (n, 0, str(n)) for n in range(20_000)}
    leaders = Leaders(10, lambda count: sorted(keys.values())[:count])
    for fallen in range(1_000):
        leaders.move(keys[fallen], new := (30_000 + fallen, 0, str(fallen)))
        keys[fallen] = new
        assert leaders.best()[0] == (fallen + 1, 0, str(fallen + 1))
    assert leaders.looks <= 6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("equal", [1, 300, 10**9])
def test_a_crowd_beyond_the_buffer_is_ranked_right(mode: BoardMode, equal: int) -> None:
    """Few or many of equal score and time, in memory and read back."""
    random = np.random.default_rng(7)
    definition = board(mode, top=100)
    oracle, fold, stored = Oracle(definition), Board.from_state(definition, FoldState()), Stored()
    for n in range(12):
        points = random.integers(-3_000, 3_000, 400) // equal
        actors = random.integers(0, 2_500, 400)
        scores = [Score(f"a{a}", int(p), seq=n + 1) for a, p in zip(actors, points, strict=True)]
        block = Blk(n // 3, scores)
        feed(fold, block)
        oracle.feed(block)
        oracle.assert_shown_by(merge_board([fold.partial()]))
        stored.apply(fold.delta())
        again = Board.from_state(definition, stored.state([""]))
        assert again.partial() == fold.partial()
