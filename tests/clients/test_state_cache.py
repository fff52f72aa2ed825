"""What a viewer shows never goes back in time (I5), whatever order messages come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.aggregate.v1.aggregate_pb2 import OptionCount, TallyResult, TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.client import state_cache
from grandstand.client.state_cache import StateCache, includes, sequence_in
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import (
    Heartbeat,
    Personal,
    Snapshot,
    SubscribeResponse,
    TopicCursor,
    Update,
)
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.delta import DeltaMismatch, diff


def state(topic: str, **sequences: int) -> TopicState:
    """state("poll/a", p3=7): partition 3 at sequence 7."""
    positions = [Position(partition=int(name[1:]), sequence=sequence) for name, sequence in sequences.items()]
    return TopicState(topic=topic, cursor=Cursor(positions=positions))


def snapshot(*states: TopicState) -> SubscribeResponse:
    return SubscribeResponse(snapshot=Snapshot(topics=states))


def update(*states: TopicState) -> SubscribeResponse:
    return SubscribeResponse(update=Update(topics=states))


def test_an_update_replaces_the_topics_it_names_and_leaves_the_others() -> None:
    screen = StateCache()
    screen.apply(snapshot(state("poll/a", p1=1), state("poll/b", p1=1)))
    assert screen.apply(update(state("poll/b", p1=2))) == ["poll/b"]
    assert sequence_in(screen.states["poll/a"].cursor, 1) == 1
    assert sequence_in(screen.states["poll/b"].cursor, 1) == 2


def test_a_snapshot_takes_nothing_away_and_too_many_sealed_topics_go_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = StateCache()
    screen.apply(snapshot(state("poll/a", p1=1), state("poll/b", p1=1)))
    screen.apply(snapshot(state("poll/b", p1=2)))
    assert list(screen.states) == ["poll/a", "poll/b"]
    monkeypatch.setattr(state_cache, "TOPICS_KEPT_MAX", 3)
    sealed = [TopicState(topic=f"poll/s{n}", stage=STAGE_SEALED) for n in range(3)]
    screen.apply(update(*sealed))
    screen.apply(snapshot(sealed[0]))
    assert list(screen.states) == ["poll/a", "poll/b", "poll/s0"], "what changes still stays"


def test_an_older_state_is_not_shown_and_is_counted() -> None:
    screen = StateCache()
    screen.apply(snapshot(state("poll/a", p1=5, p2=5)))
    assert screen.apply(update(state("poll/a", p1=9, p2=4))) == []
    assert screen.went_back == 1
    assert sequence_in(screen.states["poll/a"].cursor, 1) == 5


def test_a_heartbeat_changes_nothing() -> None:
    screen = StateCache()
    screen.apply(snapshot(state("poll/a", p1=5)))
    assert screen.apply(SubscribeResponse(heartbeat=Heartbeat())) == []
    assert list(screen.states) == ["poll/a"]


def test_the_cursors_to_resume_with_are_those_of_what_is_shown() -> None:
    screen = StateCache()
    screen.apply(snapshot(state("poll/a", p1=5), state("board/b", p2=6)))
    assert {c.topic: c.cursor for c in screen.cursors()} == {
        "poll/a": Cursor(positions=[Position(partition=1, sequence=5)]),
        "board/b": Cursor(positions=[Position(partition=2, sequence=6)]),
    }


def test_applied_positions_stand_for_the_cursors_of_all_topics_but_the_personal_ones() -> None:
    screen = StateCache()
    screen.apply(SubscribeResponse(personal=Personal(topics=[state("inbox", p0=2)])))
    topics = [state(f"poll/{n}", p1=n) for n in range(1, 100)]
    for applied in ({1: 200, 2: 7}, {1: 150, 2: 9}):  # the second stream took over and starts behind
        screen.apply(
            SubscribeResponse(
                snapshot=Snapshot(topics=topics),
                applied=[Position(partition=p, sequence=s) for p, s in applied.items()],
            )
        )
    assert screen.applied() == [Position(partition=1, sequence=200), Position(partition=2, sequence=9)]
    assert [cursor.topic for cursor in screen.cursors()] == ["inbox"]
    assert len(screen.seen()) == 100


def test_a_cursor_includes_an_event_with_its_partition_at_the_same_or_a_greater_sequence() -> None:
    cursor = Cursor(positions=[Position(partition=1, sequence=5)])
    assert includes(cursor, [])
    assert includes(cursor, [Position(partition=1, sequence=5)])
    assert not includes(cursor, [Position(partition=1, sequence=6)])
    assert not includes(cursor, [Position(partition=2, sequence=1)])


cursors = st.dictionaries(st.integers(0, 3), st.integers(1, 6), max_size=4)


@given(st.lists(st.tuples(st.booleans(), cursors), max_size=20))
def test_no_partition_of_what_is_shown_ever_goes_back(messages: list[tuple[bool, dict[int, int]]]) -> None:
    screen = StateCache()
    shown: dict[int, int] = {}
    for is_snapshot, sequences in messages:
        one = state("poll/a", **{f"p{partition}": sequence for partition, sequence in sequences.items()})
        screen.apply(snapshot(one) if is_snapshot else update(one))
        now = (
            {p.partition: p.sequence for p in screen.states["poll/a"].cursor.positions}
            if screen.states
            else {}
        )
        assert all(now.get(partition, 0) >= sequence for partition, sequence in shown.items())
        shown = now


def poll(votes: int, sequence: int, topic: str = "poll/a") -> TopicState:
    option = OptionCount(option_id="an option with a name of some length", votes=votes, weight=votes)
    return TopicState(
        topic=topic,
        cursor=Cursor(positions=[Position(partition=1, sequence=sequence)]),
        tally=TallyResult(options=[option], voters=votes),
    )


def delta(before: TopicState, after: TopicState) -> SubscribeResponse:
    what = diff(before, after)
    assert what is not None
    return SubscribeResponse(update=Update(deltas=[what]))


def personal(*states: TopicState) -> SubscribeResponse:
    return SubscribeResponse(personal=Personal(topics=states))


def test_a_delta_changes_the_topic_it_names_and_leaves_what_was_given_out() -> None:
    screen = StateCache()
    screen.apply(snapshot(poll(1, 1), poll(1, 1, "poll/b")))
    before = screen.states["poll/a"]
    assert screen.apply(delta(poll(1, 1), poll(2, 2))) == ["poll/a"]
    assert screen.states["poll/a"] == poll(2, 2)
    assert before == poll(1, 1)
    assert screen.states["poll/b"] == poll(1, 1, "poll/b")


def test_a_delta_of_a_topic_that_the_stream_has_not_shown_is_a_misfit() -> None:
    screen = StateCache()
    with pytest.raises(DeltaMismatch, match="poll/a"):
        screen.apply(delta(poll(1, 1), poll(2, 2)))
    screen.apply(snapshot(poll(1, 1)))
    screen.begin(screen.cursors())
    with pytest.raises(DeltaMismatch, match="poll/a"):
        screen.apply(delta(poll(1, 1), poll(2, 2)))
    assert screen.states["poll/a"] == poll(1, 1)


def test_a_stream_that_starts_behind_what_is_shown_is_followed_and_shown_once_it_has_caught_up() -> None:
    screen = StateCache()
    screen.apply(snapshot(poll(5, 5)))
    screen.begin([TopicCursor(topic="poll/a", cursor=poll(3, 3).cursor)])
    assert screen.apply(snapshot(poll(3, 3))) == []
    assert screen.apply(delta(poll(3, 3), poll(4, 4))) == []
    assert screen.states["poll/a"] == poll(5, 5)
    assert screen.apply(delta(poll(4, 4), poll(6, 6))) == ["poll/a"]
    assert screen.states["poll/a"] == poll(6, 6)
    assert screen.went_back == 0, "it promised no more than the cursors that it was opened with"


def test_a_stream_that_starts_behind_the_cursors_it_was_opened_with_went_back() -> None:
    screen = StateCache()
    screen.apply(snapshot(poll(5, 5)))
    screen.begin(screen.cursors())
    assert screen.apply(snapshot(poll(4, 4))) == []
    assert screen.went_back == 1
    assert screen.states["poll/a"] == poll(5, 5)


def test_a_snapshot_leaves_personal_topics_alone() -> None:
    screen = StateCache()
    screen.apply(snapshot(poll(1, 1)))
    assert screen.apply(personal(state("inbox"), state("standing/top", p1=4))) == ["inbox", "standing/top"]
    screen.apply(snapshot(poll(2, 2)))
    assert list(screen.states) == ["poll/a", "inbox", "standing/top"]
    screen.begin(screen.cursors())
    screen.apply(snapshot())
    assert list(screen.states) == ["poll/a", "inbox", "standing/top"]
    assert screen.apply(personal(state("standing/top", p1=3))) == []
    assert screen.went_back == 1


def test_a_topic_that_a_snapshot_does_not_name_has_no_deltas_any_more() -> None:
    screen = StateCache()
    screen.apply(snapshot(poll(1, 1)))
    screen.apply(snapshot())
    with pytest.raises(DeltaMismatch):
        screen.apply(delta(poll(1, 1), poll(2, 2)))


def test_no_more_cursors_are_handed_in_than_may_be() -> None:
    screen = StateCache()
    screen.apply(snapshot(*(state(f"poll/{at}", p1=1) for at in range(wire_bounds.POSITIONS_MAX + 1))))
    assert len(screen.cursors()) == wire_bounds.POSITIONS_MAX


@given(st.data())
def test_whatever_streams_take_over_the_screen_shows_the_newest_state_of_the_last_that_caught_up(
    data: st.DataObject,
) -> None:
    """Gateways tell of one poll, each a prefix of its history; the next may lag behind the one before."""
    history = [poll(votes, votes) for votes in range(1, 12)]
    screen = StateCache()
    newest = 0
    for _ in range(data.draw(st.integers(1, 4))):
        handed_in = data.draw(st.integers(0, newest))
        screen.begin([TopicCursor(topic="poll/a", cursor=history[handed_in].cursor)] if newest else [])
        at = data.draw(st.integers(handed_in, len(history) - 1))
        screen.apply(snapshot(history[at]))
        newest = max(newest, at)
        assert screen.states["poll/a"] == history[newest]
        for step in data.draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=4)):
            to = min(at + step[0], len(history) - 1)
            if to > at:
                screen.apply(delta(history[at], history[to]) if step[1] else update(history[to]))
                at, newest = to, max(newest, to)
            assert screen.states["poll/a"] == history[newest]
    assert screen.went_back == 0
