"""When personal topics are read, and what of them a viewer is told: newest only, never older, in turn."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from gateway.own_standing import (
    OwnStanding,
    Watermarks,
    board_reading,
    no_standing,
    reading_of,
    wanted_of,
)
from gateway.personal_mailbox import Mailbox
from gateway.standing_plan import StandingKey, StandingPlan
from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, StandingResult, TopicState
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST, STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED, Stage
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import BoardPartial, Partial, SeasonShare
from mesh.redis.ranking import BoardName, Standing
from mesh.redis.share import Share

BATCH_S = 0.25
LONG = float("-inf")


def plan(batch_lookups: int = 4) -> StandingPlan:
    return StandingPlan(batch_s=BATCH_S, batch_lookups=batch_lookups)


def ann(board: str = "top") -> StandingKey:
    return StandingKey("g", board, "ann")


# When a place is read.


def test_a_place_is_read_at_once_then_after_each_change_but_not_too_often() -> None:
    p = plan()
    assert p.next_at_s() is None
    p.watch(ann(), 1)
    assert p.next_at_s() == LONG
    assert p.take(10.0) == [ann()]
    assert p.next_at_s() is None
    p.board_changed("g", "top")
    p.board_changed("g", "top")
    assert p.next_at_s() == 10.0 + gateway_bounds.STANDING_S
    assert p.take(10.0 + gateway_bounds.STANDING_S - 0.01) == []
    assert p.take(10.0 + gateway_bounds.STANDING_S) == [ann()]
    assert (p.next_at_s(), p.take(99.0)) == (None, [])
    p.board_changed("g", "top")
    assert p.take(100.0) == [ann()]


def test_a_change_while_the_place_is_read_is_read_later() -> None:
    p = plan()
    p.watch(ann(), 1)
    assert p.take(10.0) == [ann()]
    p.board_changed("g", "top")
    assert p.take(20.0) == [ann()]


def test_viewers_of_one_actor_share_a_reading_and_it_ends_with_the_last() -> None:
    p = plan()
    p.watch(ann(), 1)
    p.watch(ann(), 1)
    assert p.take(1.0) == [ann()]
    p.unwatch(ann())
    p.board_changed("g", "top")
    assert p.take(5.0) == [ann()]
    p.board_changed("g", "top")
    p.unwatch(ann())
    assert p.take(9.0) == []
    p.again(ann(), 9.0)
    p.board_changed("g", "top")
    assert (p.take(20.0), p.next_at_s()) == ([], None)


def test_who_wants_a_newer_reading_is_not_kept_waiting_for_the_last_ones_age() -> None:
    p = plan()
    p.watch(ann(), 1)
    assert p.take(1.0) == [ann()]
    p.want(ann())
    p.want(ann())
    assert p.take(1.0 + BATCH_S) == [ann()]
    assert p.take(9.0) == []


def test_a_reading_of_no_use_is_tried_again_later_once() -> None:
    p = plan()
    p.watch(ann(), 1)
    assert p.take(1.0) == [ann()]
    p.again(ann(), 1.5)
    p.again(ann(), 1.6)
    assert p.next_at_s() == 1.5 + gateway_bounds.STANDING_S
    assert p.take(1.4 + gateway_bounds.STANDING_S) == []
    assert p.take(1.5 + gateway_bounds.STANDING_S) == [ann()]
    assert p.take(30.0) == []


def test_one_who_left_and_came_back_is_not_read_for_what_befell_it_before() -> None:
    p = plan()
    p.watch(ann(), 1)
    assert p.take(1.0) == [ann()]
    p.again(ann(), 1.0)
    p.unwatch(ann())
    p.watch(ann(), 1)
    assert p.take(1.5) == [ann()]
    assert p.take(9.0) == []


def test_batches_keep_to_their_lookups_and_their_distance() -> None:
    p = plan(batch_lookups=7)
    for n in range(5):
        p.watch(StandingKey("g", "wide", f"a{n}"), 3)
    assert len(p.take(1.0)) == 2
    assert p.next_at_s() == 1.0 + BATCH_S
    assert p.take(1.0 + BATCH_S / 2) == []
    assert len(p.take(1.0 + BATCH_S)) == 2
    # One that costs more than a batch may is read alone.
    wider = StandingKey("g", "wider", "bob")
    p.watch(wider, 8)
    assert len(p.take(2.0)) == 1
    assert p.take(3.0) == [wider]


def test_a_crowd_on_one_board_keeps_nobody_else_waiting() -> None:
    p = plan(batch_lookups=4)
    crowd = [StandingKey("g", "crowd", f"a{n:04d}") for n in range(1000)]
    for place in crowd:
        p.watch(place, 1)
    for n in range(3):
        p.watch(ann(f"quiet-{n}"), 1)
    first = p.take(0.0)
    assert first == [crowd[0], *(ann(f"quiet-{n}") for n in range(3))]
    # Its first places come in the order in which it came.
    rest = [place for n in range(1, 251) for place in p.take(n * BATCH_S)]
    assert rest == crowd[1:]
    # Later ones in turn, though the board changes all the time, and the quiet one is not kept waiting.
    seen: Counter[StandingKey] = Counter()
    for n in range(251, 251 + 400):
        p.board_changed("g", "crowd")
        if n % 20 == 0:
            p.board_changed("g", "quiet-0")
        batch = p.take(n * BATCH_S)
        assert len(batch) == 4
        assert (ann("quiet-0") in batch) == (n % 20 == 0)
        seen.update(batch)
    assert max(seen[place] for place in crowd) - min(seen[place] for place in crowd) <= 1


@given(st.data())
def test_every_change_is_read_in_the_end_within_the_bounds_whatever_happens(data: st.DataObject) -> None:
    p = plan(batch_lookups=3)
    cost = {"x": 1, "y": 2}
    places = [StandingKey("g", board, f"a{n}") for board in cost for n in range(4)]
    watches: Counter[StandingKey] = Counter()
    changed = Counter[str]()
    known: dict[StandingKey, int] = {}  # the change that was last read after
    read_at: dict[StandingKey, float] = {}
    asked: set[StandingKey] = set()  # wanted out of turn, or again
    now, batch_at = 0.0, LONG

    def step() -> list[StandingKey]:
        nonlocal batch_at
        due_at = p.next_at_s()
        batch = p.take(now)
        if batch:
            assert due_at is not None
            assert due_at <= now
            assert now >= batch_at + BATCH_S
            batch_at = now
        assert len(batch) == len(set(batch))
        assert sum(cost[place.board_id] for place in batch) <= 3
        for place in batch:
            assert watches[place]
            stale = known.get(place, -1) < changed[place.board_id]
            assert place in asked or stale
            assert place in asked or now >= read_at[place] + gateway_bounds.STANDING_S
            known[place], read_at[place] = changed[place.board_id], now
            asked.discard(place)
        return batch

    for _ in range(data.draw(st.integers(0, 60))):
        place = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["watch", "unwatch", "want", "again", "changed", "take"])):
            case "watch":
                if not watches[place]:
                    known.pop(place, None)
                    asked.add(place)
                watches[place] += 1
                p.watch(place, cost[place.board_id])
            case "unwatch" if watches[place]:
                watches[place] -= 1
                p.unwatch(place)
            case "want" if watches[place]:
                asked.add(place)
                p.want(place)
            case "again" if watches[place]:
                asked.add(place)
                p.again(place, now)
            case "changed":
                changed[place.board_id] += 1
                p.board_changed(place.game_id, place.board_id)
            case "take":
                now += data.draw(st.sampled_from([0.0, 0.1, BATCH_S, 1.0]))
                step()
    for _ in range(len(places) * 4):
        if (due_at := p.next_at_s()) is None:
            break
        now = max(now, due_at)
        step()
    assert p.next_at_s() is None
    watched = {place for place, count in watches.items() if count}
    assert all(known[place] == changed[place.board_id] for place in watched)
    assert not asked & watched


# What of a reading may be told.


def partial(partition: int, *, stage: Stage = STAGE_OPEN, season: int = 0) -> Partial:
    share = BoardPartial(mode=BOARD_MODE_LOWEST, top=3, current=SeasonShare(number=season))
    share.season.every.FromSeconds(60)
    return Partial(topic="board/top", partition=partition, sequence=1, stage=stage, board=share)


def share(partition: int, applied: int, **fields: int) -> Share:
    return Share(partition, applied, {"board/top": partial(partition, **fields)})  # type: ignore[arg-type]


def standing(applied: dict[int, int], rank: int = 1) -> Standing:
    entry = BoardEntry(rank=rank, actor_id="ann", points=5)
    return Standing(entry, [entry], 9, applied)


NAME = BoardName("g", "top", 2)


def test_a_place_is_told_with_its_season_its_stage_and_where_it_lies_in_time() -> None:
    board = board_reading(NAME, [share(4, 10, stage=STAGE_CLOSED, season=2), share(3, 7, stage=STAGE_SEALED)])
    assert board is not None
    assert (board.ranking.part, board.ranking.lowest_leads, board.ranking.spread) == ("2", True, 2)
    reading = reading_of(board, standing({4: 12, 3: 7}, rank=3))
    state = reading.state
    assert (state.topic, state.stage) == ("standing/top", STAGE_CLOSED)
    assert (state.standing.standing.rank, state.standing.actors, state.standing.season.number) == (3, 9, 2)
    assert list(state.cursor.positions) == [
        Position(partition=3, sequence=7),
        Position(partition=4, sequence=12),
    ]
    # What it surely includes is what the board was read at.
    assert reading.includes({4: 10, 3: 7})
    assert not reading.includes({4: 11})
    assert not reading.includes({5: 1})


def test_a_board_that_lacks_a_partitions_share_is_not_whole() -> None:
    assert board_reading(NAME, [share(4, 10), Share(3, 7, {})]) is None
    assert board_reading(NAME, [Share(4, 10, {}), Share(3, 7, {})]) is None


def test_no_place_on_an_unknown_board_is_said_to_who_has_seen_nothing_of_it() -> None:
    reading = no_standing("top")
    assert reading.state == TopicState(topic="standing/top", standing=StandingResult())
    assert reading.includes({})
    assert not reading.includes({3: 1})


def test_positions_of_other_partitions_have_nothing_to_do_with_a_game() -> None:
    positions = [Position(partition=p, sequence=s) for p, s in [(3, 5), (4, 1), (3, 9), (3, 2), (7, 8)]]
    assert wanted_of(positions, [3, 4]) == {3: 9, 4: 1}
    assert wanted_of([], [3]) == {}


@pytest.mark.parametrize(
    ("before", "after", "passes"),
    [
        ({1: 10}, {1: 10}, True),
        ({1: 10}, {1: 12}, True),
        ({1: 9}, {1: 12}, False),  # the board as it was before the rebuild had come so far again
        ({1: 11}, {1: 10}, False),  # emptied between the board and the place
        ({}, {1: 12}, False),
        ({1: 10, 2: 1}, {1: 10, 2: 1}, True),
        ({2: 1}, {2: 1}, True),
    ],
)
def test_what_is_older_than_what_was_read_before_does_not_pass(
    before: dict[int, int], after: dict[int, int], *, passes: bool
) -> None:
    watermarks = Watermarks()
    assert watermarks.passes({1: 8}, {1: 10})
    watermarks.begin()
    assert watermarks.passes(before, after) == passes


def test_what_is_read_together_passes_in_any_order_and_the_newest_counts() -> None:
    watermarks = Watermarks()
    watermarks.begin()
    for after in (12, 10, 11):
        assert watermarks.passes({1: 9}, {1: after})
    watermarks.begin()
    assert not watermarks.passes({1: 11}, {1: 13})
    assert watermarks.passes({1: 12}, {1: 12})


def test_a_place_has_a_new_version_when_it_says_something_new() -> None:
    own = OwnStanding()
    assert own.version == 0
    board = board_reading(NAME, [share(4, 10), share(3, 7)])
    closed = board_reading(NAME, [share(4, 12, stage=STAGE_CLOSED), share(3, 7, stage=STAGE_CLOSED)])
    assert board is not None
    assert closed is not None
    readings = [
        (reading_of(board, standing({4: 10, 3: 7})), 1),
        (reading_of(board, standing({4: 11, 3: 8})), 1),  # newer, and says the same
        (reading_of(board, standing({4: 11, 3: 8}, rank=2)), 2),
        (reading_of(closed, standing({4: 12, 3: 8}, rank=2)), 3),
    ]
    for reading, version in readings:
        own.take(reading)
        assert (own.version, own.reading) == (version, reading)


# What a viewer is told.


@given(
    st.lists(st.one_of(st.tuples(st.sampled_from("xy"), st.integers(0, 9)), st.just(None)), max_size=40),
)
def test_a_viewer_that_takes_nothing_for_a_while_is_told_the_newest_of_each_topic(
    said: list[tuple[str, int] | None],
) -> None:
    """None: it takes what waits."""
    mailbox = Mailbox()
    newest: dict[str, int] = {}
    shown: dict[str, int] = {}
    for each in [*said, None]:
        if each is not None:
            topic, version = each
            encoded = f"{topic}{version}".encode()
            assert mailbox.offer(topic, encoded, version) == (version > newest.get(topic, -1))
            newest[topic] = max(version, newest.get(topic, -1))
            continue
        waiting = {each[:1].decode(): int(each[1:]) for each in mailbox.waiting}
        assert len(mailbox.waiting) == len(waiting) <= 2
        assert all(version > shown.get(topic, -1) for topic, version in waiting.items())
        shown |= waiting
        mailbox.told()
        assert not mailbox.waiting
    assert shown == newest
