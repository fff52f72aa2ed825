"""What a viewer shows never goes back in time (I5), whatever order messages come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, Snapshot, SubscribeResponse, Update
from mesh.client.screen import Screen, includes, sequence_in


def state(topic: str, **sequences: int) -> TopicState:
    """state("poll/a", p3=7): partition 3 at sequence 7."""
    positions = [Position(partition=int(name[1:]), sequence=sequence) for name, sequence in sequences.items()]
    return TopicState(topic=topic, cursor=Cursor(positions=positions))


def snapshot(*states: TopicState) -> SubscribeResponse:
    return SubscribeResponse(snapshot=Snapshot(topics=states))


def update(*states: TopicState) -> SubscribeResponse:
    return SubscribeResponse(update=Update(topics=states))


def test_an_update_replaces_the_topics_it_names_and_leaves_the_others() -> None:
    screen = Screen()
    screen.apply(snapshot(state("poll/a", p1=1), state("poll/b", p1=1)))
    assert screen.apply(update(state("poll/b", p1=2))) == ["poll/b"]
    assert sequence_in(screen.states["poll/a"].cursor, 1) == 1
    assert sequence_in(screen.states["poll/b"].cursor, 1) == 2


def test_a_snapshot_replaces_everything_shown() -> None:
    screen = Screen()
    screen.apply(snapshot(state("poll/a", p1=1), state("poll/b", p1=1)))
    screen.apply(snapshot(state("poll/b", p1=1)))
    assert list(screen.states) == ["poll/b"]


def test_an_older_state_is_not_shown_and_is_counted() -> None:
    screen = Screen()
    screen.apply(snapshot(state("poll/a", p1=5, p2=5)))
    assert screen.apply(update(state("poll/a", p1=9, p2=4))) == []
    assert screen.went_back == 1
    assert sequence_in(screen.states["poll/a"].cursor, 1) == 5


def test_a_heartbeat_changes_nothing() -> None:
    screen = Screen()
    screen.apply(snapshot(state("poll/a", p1=5)))
    assert screen.apply(SubscribeResponse(heartbeat=Heartbeat())) == []
    assert list(screen.states) == ["poll/a"]


def test_the_cursors_to_resume_with_are_those_of_what_is_shown() -> None:
    screen = Screen()
    screen.apply(snapshot(state("poll/a", p1=5), state("board/b", p2=6)))
    assert {c.topic: c.cursor for c in screen.cursors()} == {
        "poll/a": Cursor(positions=[Position(partition=1, sequence=5)]),
        "board/b": Cursor(positions=[Position(partition=2, sequence=6)]),
    }


def test_a_cursor_includes_an_event_with_its_partition_at_the_same_or_a_greater_sequence() -> None:
    cursor = Cursor(positions=[Position(partition=1, sequence=5)])
    assert includes(cursor, [])
    assert includes(cursor, [Position(partition=1, sequence=5)])
    assert not includes(cursor, [Position(partition=1, sequence=6)])
    assert not includes(cursor, [Position(partition=2, sequence=1)])


cursors = st.dictionaries(st.integers(0, 3), st.integers(1, 6), max_size=4)


@given(st.lists(st.tuples(st.booleans(), cursors), max_size=20))
def test_no_partition_of_what_is_shown_ever_goes_back(messages: list[tuple[bool, dict[int, int]]]) -> None:
    screen = Screen()
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
