"""I2, I9: a partition's time begins and ends seasons and seals, and drops nothing, whatever clocks do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    Poll,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Block, BoardPartial, Partial, PartitionState, StoredTopic
from mesh import limits
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.partitions import partials_of

EVERY_S = 10
GRACE_S = limits.SEAL_GRACE_S
BOUND_S = aggregate_bounds.CLOCK_BOUND_S


def us(after_s: float) -> int:
    return NOW_S * 1_000_000 + int(after_s * 1e6)


def board() -> Board:
    made = blocks.board(BOARD_MODE_SUM)
    made.opened_at.FromSeconds(NOW_S)
    made.season.starts_at.FromSeconds(NOW_S)
    made.season.every.FromSeconds(EVERY_S)
    return made


def poll(closes_s: float) -> Poll:
    made = blocks.poll()
    made.closes_at.FromMicroseconds(us(closes_s))
    return made


@dataclass
class Stream:
    """A partition's stream: blocks with their stamps and when they were stored, seconds after NOW_S."""

    partition: Partition

    def store(self, block: Block, stored_s: float) -> dict[str, Partial]:
        data = block.SerializeToString()
        assert self.partition.fold(self.partition.folded + 1, data, us(stored_s)) == []
        flush = self.partition.take_flush()
        assert flush is not None
        self.state = flush.state
        return {partial.topic: partial for partial in partials_of(flush)}

    def control(self, definition: Poll | Board, stage: Stage, at_s: float) -> dict[str, Partial]:
        return self.store(blocks.control(definition, stage, NOW_S + at_s), at_s)

    def score(self, number: int, stamped_s: float, stored_s: float) -> BoardPartial:
        row = blocks.score("ann", 1, origin(number), 1)
        return self.store(blocks.block([row], NOW_S + stamped_s), stored_s)["board/top"].board


def opened(*definitions: Poll | Board) -> Stream:
    stream = Stream(Partition(0, Loaded()))
    for definition in definitions:
        stream.control(definition, STAGE_OPEN, 0)
    return stream


def seasons_of(shown: BoardPartial) -> Counter[int]:
    """What is summed up in each season that is held."""
    held = [shown.current, shown.previous] if shown.HasField("previous") else [shown.current]
    return Counter({share.number: sum(share.points) for share in held})


def test_the_scores_of_an_ingest_whose_clock_is_behind_count() -> None:
    """Its stamps lie in a season that the others' time has sealed."""
    stream = opened(board())
    stream.score(1, 5, 5)
    assert stream.score(2, 19.5, 19.5).previous.sealed
    for n in range(30):
        shown = stream.score(3 + n, 9.5 + n / 100, 20.5 + n / 100)
    assert seasons_of(shown) == {2: 31, 3: 0}
    assert stream.partition.uncounted == 0


def test_the_scores_stored_by_a_leader_whose_clock_is_behind_count() -> None:
    """The stream's leader moved to a server whose clock is 15 s behind."""
    stream = opened(board())
    for n in range(36):
        shown = stream.score(1 + n, 19 + n / 36, 19 + n / 36)
    assert seasons_of(shown) == {1: 0, 2: 36}
    assert shown.previous.sealed
    for n in range(3):
        shown = stream.score(40 + n, 19.98, 4.98)
    assert seasons_of(shown) == {1: 0, 2: 39}


def test_neither_a_sender_nor_the_leader_moves_the_time_alone() -> None:
    day_s = 24 * 3600
    stream = opened(board())
    assert stream.score(1, day_s, 1).current.number == 1
    assert stream.state.watermark_us == us(1)
    stream = opened(board())
    assert stream.score(1, 1, day_s).current.number == 1
    assert stream.state.watermark_us == us(1 + BOUND_S)
    assert stream.state.newest_stamp_us == us(1)


def test_the_time_goes_on_after_a_takeover_as_before_it() -> None:
    stream = opened()
    stream.control(board(), STAGE_OPEN, 29)
    taker = Stream(Partition(0, Loaded(stream.state)))
    taker.store(blocks.control(board(), STAGE_OPEN, NOW_S + 3), 3)
    assert taker.state.watermark_us == us(29)
    assert taker.state.newest_stamp_us == us(29)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.floats(-60, 100), st.sampled_from([9.999999, 10.0, 17.999999, 18.0, 20.0])),
        st.one_of(st.floats(-60, 100), st.sampled_from([10.0, 18.0, 28.0])),
        st.sampled_from(["score", "score", "score", "beat", "reaction"]),
    ),
    max_size=25,
)


@given(STEPS, st.booleans())
def test_every_score_counts_in_the_current_or_the_unsealed_previous_season(
    steps: list[tuple[float, float, str]], clocks_agree: bool
) -> None:
    """Stamps and stored times go where they will; where clocks agree the true time grows, and they are off
    by less than the bound each, a sender's late by the publish deadline too."""
    stream = opened(board())
    stream.store(blocks.game_control(blocks.game()), 0)
    before: Counter[int] = Counter({1: 0})
    sealed: set[int] = set()
    scores = reactions = 0
    now_s = 0.0
    for number, (stamped_s, stored_s, kind) in enumerate(steps, start=1):
        if clocks_agree:
            now_s += abs(stored_s) / 10
            early_s = limits.PUBLISH_DEADLINE_S + BOUND_S
            stamped_s, stored_s = now_s - abs(stamped_s) % early_s, now_s + stored_s % BOUND_S - BOUND_S / 2
        if kind == "reaction":
            reactions += 1
            block = blocks.block([blocks.reaction("fire", 1, origin(number), 1)], NOW_S + stamped_s)
            assert list(stream.store(block, stored_s)["pulse/cheer"].pulse.totals) == [reactions]
            continue
        if kind == "beat":
            found = stream.store(blocks.control(board(), STAGE_OPEN, NOW_S + stamped_s), stored_s)
            if "board/top" not in found:
                continue
            shown = found["board/top"].board
        else:
            scores += 1
            shown = stream.score(number, stamped_s, stored_s)
        after = seasons_of(shown)
        assert all(after[season] == before[season] for season in sealed & after.keys())
        gained = sum(after[season] - before[season] for season in after)
        assert gained == (kind == "score"), "the score counts once, in a season that is held"
        sealed |= {shown.previous.number} if shown.previous.sealed else set()
        before = after
    assert stream.partition.uncounted == 0


def test_a_close_that_comes_a_grace_late_drops_no_score() -> None:
    """Nobody closed for long: the season in which the board ends is sealed by the time, and the close
    then moves what is still on its way back into it."""
    stream = opened(board())
    assert stream.score(1, 28.5, 28.5).previous.sealed
    ended = board()
    ended.closes_at.FromMicroseconds(us(9.5))
    stream.control(ended, STAGE_CLOSED, 29.5)
    assert seasons_of(stream.score(2, 29, 29.6)) == {2: 0, 3: 2}


@pytest.mark.parametrize("definition", [blocks.poll(), blocks.board(BOARD_MODE_SUM)])
def test_a_clock_that_is_ahead_neither_closes_nor_seals_before_the_time(definition: Poll | Board) -> None:
    """A worker 9 s ahead sends its controls when its own clock says so."""
    definition.closes_at.FromMicroseconds(us(20))
    stream = opened(definition)

    def ahead(stage: Stage, at_s: float) -> dict[str, Partial]:
        return stream.store(blocks.control(definition, stage, NOW_S + at_s + 9), at_s)

    topic = "poll/mvp" if isinstance(definition, Poll) else "board/top"
    assert topic not in ahead(STAGE_CLOSED, 11), "too early: nothing"
    assert topic not in ahead(STAGE_SEALED, 18.9)
    assert ahead(STAGE_CLOSED, 20 - BOUND_S)[topic].stage == STAGE_CLOSED
    assert topic not in ahead(STAGE_SEALED, 20 + GRACE_S - 0.001), "the grace begins at closes_at"
    assert ahead(STAGE_SEALED, 20 + GRACE_S)[topic].stage == STAGE_SEALED


def test_a_clock_that_is_behind_seals_no_sooner_than_the_grace_after_the_close_was_taken() -> None:
    """It writes a closes_at that lies in the past, and seals at once."""
    stream = opened(blocks.poll())
    stream.store(blocks.block([blocks.vote("ann", "a", origin(1), 1)], NOW_S + 30), 30)
    assert stream.control(poll(12), STAGE_CLOSED, 30)["poll/mvp"].stage == STAGE_CLOSED
    assert stream.control(poll(12), STAGE_SEALED, 30.1) == {}
    late = stream.store(blocks.block([blocks.vote("bob", "b", origin(2), 1)], NOW_S + 29.9), 34)
    assert late["poll/mvp"].tally.voters == 2
    assert stream.control(poll(12), STAGE_SEALED, 30 + GRACE_S)["poll/mvp"].stage == STAGE_SEALED


def test_a_seal_without_a_close_is_taken_as_the_close() -> None:
    stream = opened(blocks.poll())
    assert stream.control(poll(5), STAGE_SEALED, 40)["poll/mvp"].stage == STAGE_CLOSED
    assert stream.control(poll(5), STAGE_SEALED, 40 + GRACE_S)["poll/mvp"].stage == STAGE_SEALED


def test_when_it_was_closed_is_stored() -> None:
    partition = Partition(0, Loaded())
    for at_s, stage in ((0, STAGE_OPEN), (21, STAGE_CLOSED)):
        block = blocks.control(poll(20), stage, NOW_S + at_s)
        partition.fold(partition.folded + 1, block.SerializeToString(), us(at_s))
    flush = partition.take_flush()
    assert flush is not None
    (stored,) = (w.arguments for w in flush.writes if w.key == layout.topics_key(0))
    topic = StoredTopic.FromString(dict(zip(stored[::2], stored[1::2], strict=True))[f"{GAME}/poll/mvp"])  # type: ignore[arg-type]
    assert topic.closed_at_us == us(21)
    assert topic.control.poll.stage == STAGE_CLOSED
    taker = Stream(Partition(0, Loaded(flush.state, {(GAME, "poll/mvp"): topic})))
    assert taker.control(poll(20), STAGE_SEALED, 21 + GRACE_S - 0.001) == {}
    assert taker.control(poll(20), STAGE_SEALED, 21 + GRACE_S)["poll/mvp"].stage == STAGE_SEALED


def test_a_block_that_makes_no_sense_moves_no_time() -> None:
    partition = Partition(0, Loaded())
    assert partition.fold(1, b"\xff", us(99))
    flush = partition.take_flush()
    assert flush is not None
    assert (flush.state.watermark_us, flush.state.newest_stamp_us) == (0, 0)
    assert flush.state == PartitionState(applied=1, bound=flush.state.bound)
