"""Votes are voided and scores removed at one place of the stream, and before the seal (I4, I9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregate.closing import Folded
from aggregate.control_publisher import ControlPublisher
from aggregate.corrections import check_season, is_over, season_of
from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
)
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import BoardPartial, Control, Partial, SeasonShare
from grandstand.wire import ids
from grandstand.wire.errors import Invalid, NotNow, Unavailable, Unknown
from mesh import limits
from tests.aggregate.test_catalog_writer import SPREAD, board, controls, game, instances, poll
from tests.support import blocks
from tests.support.blocks import NOW_S, origin
from tests.support.games import run
from tests.support.partitions import Kept, fold, partials_of, points_of, set_aside, votes_of


def opened() -> Partition:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()), blocks.control(blocks.board(BOARD_MODE_SUM)))
    fold(
        partition,
        blocks.block(
            [
                blocks.vote("ann", "a", origin(1), 1, guest=True),
                blocks.vote("bob", "b", origin(2), 1),
                blocks.score("ann", 5, origin(1), 2),
                blocks.score("bob", 3, origin(2), 2),
            ]
        ),
    )
    return partition


def test_a_void_counts_for_what_is_stored_before_it_alone() -> None:
    partition = opened()
    shown = fold(partition, blocks.void_votes("ann"))["poll/mvp"]
    assert shown.sequence == partition.folded, "a smaller count comes with a higher sequence (I5)"
    assert (votes_of(shown), shown.tally.voters, shown.tally.voided) == ({"a": 0, "b": 1, "c": 0}, 1, 1)
    assert (list(shown.tally.guest_votes), shown.tally.guest_voters) == ([], 0)
    assert fold(partition, blocks.void_votes("ann"), blocks.void_votes("eve")) == {}
    shown = fold(partition, blocks.block([blocks.vote("ann", "c", origin(1), 3)]))["poll/mvp"]
    assert (votes_of(shown), shown.tally.voters, shown.tally.voided) == ({"a": 0, "b": 1, "c": 1}, 2, 0)


def test_a_score_that_is_removed_begins_at_nothing() -> None:
    partition = opened()
    shown = fold(partition, blocks.remove_score("ann"))["board/top"]
    assert (points_of(shown), shown.board.current.actors) == ({"bob": 3}, 1)
    assert fold(partition, blocks.remove_score("ann"), blocks.remove_score("eve")) == {}
    shown = fold(partition, blocks.block([blocks.score("ann", 1, origin(1), 3)]))["board/top"]
    assert points_of(shown) == {"bob": 3, "ann": 1}


def test_a_closed_topic_is_corrected_and_a_sealed_one_is_not() -> None:
    partition, later = opened(), NOW_S + limits.SEAL_GRACE_S
    topics = (blocks.poll(), blocks.board(BOARD_MODE_SUM))
    fold(partition, *(blocks.control(topic, STAGE_CLOSED) for topic in topics))
    shown = fold(partition, blocks.void_votes("ann"), blocks.remove_score("ann"))
    assert (shown["poll/mvp"].tally.voided, points_of(shown["board/top"])) == (1, {"bob": 3})
    fold(partition, *(blocks.control(topic, STAGE_SEALED, later) for topic in topics))
    late = (blocks.void_votes("bob", at_s=later), blocks.remove_score("bob", at_s=later))
    assert fold(partition, *late) == {}


def test_whoever_takes_over_knows_what_was_voided_and_removed() -> None:
    stream = [
        blocks.control(blocks.poll()),
        blocks.control(blocks.board(BOARD_MODE_BEST)),
        blocks.block([blocks.vote("ann", "a", origin(1), 2), blocks.score("ann", 5, origin(2), 1)]),
        blocks.void_votes("ann"),
        blocks.remove_score("ann"),
        # Of the same origin and older: it was voided with the newer one.
        blocks.block([blocks.vote("ann", "b", origin(1), 1), blocks.score("ann", 4, origin(2), 2)]),
    ]
    kept = Kept()
    for at, block in enumerate(stream):
        partition = Partition(0, kept.loaded())
        partition.fold(at + 1, block.SerializeToString())
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
    again = Partition(0, kept.loaded())
    shown = fold(
        again, blocks.block([blocks.vote("bob", "c", origin(3), 1), blocks.score("bob", 3, origin(3), 2)])
    )
    tally = shown["poll/mvp"].tally
    assert (votes_of(shown["poll/mvp"]), tally.voters, tally.voided) == ({"a": 0, "b": 0, "c": 1}, 1, 1)
    assert points_of(shown["board/top"]) == {"ann": 4, "bob": 3}


@pytest.mark.parametrize("actor", ["auth0|5f7c", "ann@example.com", "!at", "=x", "f:uuid:änn"])
def test_an_actor_of_any_id_is_taken_back(actor: str) -> None:
    partition, kept = Partition(0, Loaded()), Kept()
    scored = blocks.block([blocks.vote(actor, "a", origin(1), 1), blocks.score(actor, 5, origin(1), 2)])
    opening = blocks.control(blocks.poll()), blocks.control(blocks.board(BOARD_MODE_SUM))
    for flushed in ((*opening, scored), (blocks.void_votes(actor), blocks.remove_score(actor))):
        for block in flushed:
            assert partition.fold(partition.folded + 1, block.SerializeToString()) == []
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
    shown = {partial.topic: partial for partial in partials_of(flush)}
    assert (shown["poll/mvp"].tally.voided, points_of(shown["board/top"])) == (1, {})
    later = blocks.block([blocks.score("bob", 1, origin(2), 1)])
    assert points_of(fold(Partition(0, kept.loaded()), later)["board/top"]) == {"bob": 1}


def test_a_correction_of_nothing_is_no_dead_letter_and_one_of_no_name_is() -> None:
    partition = opened()
    nowhere = (blocks.void_votes("ann", "no-poll"), blocks.remove_score("ann", "no-board"))
    assert fold(partition, *nowhere, blocks.remove_score("ann", season=2)) == {}
    (letter,) = set_aside(partition, blocks.void_votes(""))
    assert "control.void_votes.actor_id: is empty" in letter.reason


def share(partition: int, current: int, previous: int = 0, *, sealed: bool = False) -> Folded:
    found = BoardPartial(current=SeasonShare(number=current))
    if previous:
        found.previous.CopyFrom(SeasonShare(number=previous, sealed=sealed))
    return Folded(partition, 9, Partial(board=found))


def test_a_season_is_corrected_until_its_seal() -> None:
    seasonal = Board(season={"every": {"seconds": 60}})  # type: ignore[arg-type]
    shares = [share(0, 4, 3, sealed=True), share(1, 3, 2)]
    for partition, asked, number in ((0, 0, 4), (1, 0, 4), (0, 4, 4), (1, 3, 3), (1, 2, 2)):
        assert season_of("board", seasonal, shares, partition, asked) == number
    for partition, asked in ((0, 3), (0, 2), (1, 1), (0, 5), (1, 5)):
        with pytest.raises(NotNow, match=f"season: is {asked}, .* 4 is the current one"):
            season_of("board", seasonal, shares, partition, asked)
    with pytest.raises(Unavailable, match="being rebuilt"):
        season_of("board", seasonal, [*shares, Folded(2, 0, None)], 0, 0)
    with pytest.raises(NotNow, match="has no seasons"):
        season_of("board", Board(), shares, 0, 1)
    assert is_over(BoardPartial(current=SeasonShare(number=1)), 0), "there was none before the first"
    check_season("board", share(0, 4, 3), 3)
    with pytest.raises(NotNow, match="sealed at the same moment"):
        check_season("board", share(0, 4, 3, sealed=True), 3)


def test_a_void_goes_where_the_actor_folds_and_is_counted_in_the_entry(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            with pytest.raises(Unknown):
                await first.writer.void_votes("g", "p", "ann")
            opened, _ = await first.writer.open_poll(poll())
            before = len(await controls(first.bus))
            with pytest.raises(Invalid, match="actor_id"):
                await first.writer.void_votes("g", "p", "")
            voided, at = await second.writer.void_votes("g", "p", "ann")
            assert at.partition == ids.partition_of("g", "ann", SPREAD)
            assert (opened.voids, voided.voids, voided.stage) == (0, 1, STAGE_OPEN)
            again, later = await first.writer.void_votes("g", "p", "ann")
            assert (again.voids, later.sequence) == (2, at.sequence + 1), "what came since is voided too"
            told = (await controls(first.bus))[before:]
            assert [control.void_votes.actor_id for control in told] == ["ann", "ann"]
            assert (await first.writer.open_poll(poll()))[0] == again, "the same definition"
            scored, _ = await first.writer.open_board(board())
            removed, _, season = await second.writer.remove_score("g", "b", "ann")
            assert (removed, season) == (scored, 1)

    run(scenario())


@pytest.mark.parametrize("sealed_first", [True, False])
def test_whether_the_seal_or_the_void_came_first_is_the_streams_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed_first: bool
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            opened, _ = await only.writer.open_poll(poll())
            opened.stage = STAGE_SEALED
            real = ControlPublisher.publish

            async def publish(self: ControlPublisher, *arguments: Any) -> list[Position]:
                """Another instance seals it at the same moment."""
                partitions = ids.partitions_of("g", SPREAD)
                if sealed_first:
                    await real(self, partitions, Control(poll=opened), "seal")
                positions = await real(self, *arguments)
                if not sealed_first:
                    await real(self, partitions, Control(poll=opened), "seal")
                return positions

            monkeypatch.setattr(ControlPublisher, "publish", publish)
            if sealed_first:
                with pytest.raises(NotNow, match="poll 'p' of game 'g' is sealed: its result is final"):
                    await only.writer.void_votes("g", "p", "ann")
            else:
                await only.writer.void_votes("g", "p", "ann")

    run(scenario())


def test_a_correction_that_is_not_folded_is_to_be_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            await only.writer.open_poll(poll())
            only.folds.lags = True
            with pytest.raises(Unavailable, match="not folded yet"):
                await only.writer.void_votes("g", "p", "ann")
            only.folds.lags = False
            await only.close()
            with pytest.raises(NotNow, match="is sealed"):
                await only.writer.void_votes("g", "p", "ann")

    run(scenario())
