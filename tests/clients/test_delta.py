"""Deltas are exact: applied to what was before they give what is after, byte for byte, or there is none."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.aggregate.v1.aggregate_pb2 import (
    AudienceResult,
    BoardEntry,
    BoardResult,
    CustomResult,
    KindRate,
    MetricResult,
    OptionCount,
    PastSeason,
    PulsePane,
    PulseResult,
    Quantile,
    SeasonSpan,
    TallyResult,
    TopicState,
)
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.delta_pb2 import (
    BoardDelta,
    EntryRun,
    KindDelta,
    OptionDelta,
    PulseDelta,
    TallyDelta,
    TopicDelta,
)
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.delta import DeltaMismatch, apply, diff

# Few different values, so that what is drawn twice is often the same.
small = st.integers(0, 3)
sizes = st.one_of(small, st.integers(0, 2**64 - 1))
names = st.sampled_from(["", "ada", "bob", "cy", "däisy-with-a-name-that-is-as-long-as-names-may-become"])
floats = st.one_of(st.sampled_from([0.0, -0.0, 1.5, float("inf"), float("nan")]), st.floats())


def lists(of: st.SearchStrategy[Any], most: int = 5) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=most)


def maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


entries = lists(
    st.builds(
        BoardEntry, rank=small, actor_id=names, points=st.integers(-2, 2) | st.integers(-(2**63), 2**63 - 1)
    ),
    8,
)
spans = st.builds(SeasonSpan, number=small)
values: dict[str, st.SearchStrategy[Any]] = {
    "tally": st.builds(
        TallyResult,
        options=lists(st.builds(OptionCount, option_id=names, votes=sizes, weight=small)),
        voters=small,
        voided=small,
    ),
    "board": st.builds(
        BoardResult,
        entries=entries,
        actors=small,
        season=maybe(spans),
        previous=maybe(st.builds(PastSeason, season=maybe(spans), entries=entries, sealed=st.booleans())),
    ),
    "pulse": st.builds(
        PulseResult,
        kinds=lists(st.builds(KindRate, kind=names, rate_per_s=floats, total=small), 2),
        late=small,
        panes=lists(st.builds(PulsePane, width_s=small, counts=lists(sizes)), 2),
    ),
    "audience": st.builds(
        AudienceResult, viewers=small, uniques=small, exact=st.booleans(), relative_error=floats
    ),
    "metric": st.builds(
        MetricResult,
        count=small,
        min=floats,
        max=floats,
        quantiles=lists(st.builds(Quantile, quantile=floats, value=floats), 2),
    ),
    "custom": st.builds(CustomResult, fold=names, value=st.binary(max_size=4)),
}
cursors = maybe(st.builds(Cursor, positions=lists(st.builds(Position, partition=small, sequence=sizes), 3)))


@st.composite
def any_states(draw: st.DrawFn) -> TopicState:
    """Whatever the schema allows, also what no merge makes."""
    kind = draw(st.sampled_from([*values, None]))
    value = {kind: draw(values[kind])} if kind else {}
    return TopicState(
        topic="poll/mvp",
        cursor=draw(cursors),
        stage=draw(small),  # type: ignore[arg-type]
        **value,
    )


def standing(order: list[int], points: list[int], **more: Any) -> TopicState:
    """A board as the merge makes it: of these actors in this order."""
    return TopicState(
        topic="board/top",
        cursor=Cursor(positions=[Position(partition=1, sequence=9)]),
        board=BoardResult(
            entries=[
                BoardEntry(rank=rank, actor_id=f"actor-{actor}", points=points[actor])
                for rank, actor in enumerate(order, start=1)
            ],
            actors=len(points),
            **more,
        ),
    )


@st.composite
def boards(draw: st.DrawFn) -> TopicState:
    top = draw(st.integers(0, 12))
    order = draw(st.permutations(range(12)))[:top]
    return standing(list(order), draw(st.lists(st.integers(0, 2), min_size=12, max_size=12)))


@st.composite
def polls(draw: st.DrawFn) -> TopicState:
    counts = draw(st.lists(st.tuples(sizes, sizes), min_size=3, max_size=3))
    positions = sorted(draw(st.sets(st.integers(0, 5), min_size=1)))
    return TopicState(
        topic="poll/mvp",
        cursor=Cursor(positions=[Position(partition=p, sequence=draw(sizes)) for p in positions]),
        tally=TallyResult(
            options=[
                OptionCount(option_id=f"o{at}", votes=votes, weight=weight)
                for at, (votes, weight) in enumerate(counts)
            ],
            voters=draw(sizes),
            voided=draw(small),
        ),
    )


def encoded(state: TopicState) -> bytes:
    return state.SerializeToString(deterministic=True)


def applied(before: TopicState, after: TopicState) -> TopicState | None:
    """What a viewer makes of the delta, after its way over the wire; None where there is none."""
    delta = diff(before, after)
    if delta is None:
        return None
    assert delta.ByteSize() < after.ByteSize()
    kept = encoded(before)
    now = apply(before, TopicDelta.FromString(delta.SerializeToString()))
    assert encoded(before) == kept, "what it was applied to is left alone"
    return now


@settings(max_examples=200)
@given(any_states() | boards() | polls(), any_states() | boards() | polls())
def test_a_delta_of_any_two_states_is_exact_or_there_is_none(before: TopicState, after: TopicState) -> None:
    now = applied(before, after)
    assert now is None or encoded(now) == encoded(after)


@pytest.mark.parametrize("kind", values)
@given(st.data())
def test_a_delta_of_two_states_of_a_kind_is_exact_or_there_is_none(kind: str, data: st.DataObject) -> None:
    before, after = (
        TopicState(
            topic="t",
            cursor=data.draw(cursors),
            stage=data.draw(small),  # type: ignore[arg-type]
            **{kind: data.draw(values[kind])},
        )
        for _ in range(2)
    )
    now = applied(before, after)
    assert now is None or encoded(now) == encoded(after)


@given(boards(), boards())
def test_every_board_of_the_merge_has_an_exact_delta_unless_the_whole_is_as_short(
    before: TopicState, after: TopicState
) -> None:
    now = applied(before, after)
    if now is not None:
        assert now == after
        assert encoded(now) == encoded(after)
    kept = {(entry.actor_id, entry.points) for entry in before.board.entries}
    if all((entry.actor_id, entry.points) in kept for entry in after.board.entries[:-1]):
        assert now is not None or len(after.board.entries) < 2, "no more than one entry had to be named"


@settings(max_examples=200)
@given(st.data())
def test_a_board_whose_entries_move_come_and_go_has_an_exact_delta(data: st.DataObject) -> None:
    before = data.draw(boards())
    entries = [(entry.actor_id, entry.points) for entry in before.board.entries]
    for kind in data.draw(
        st.lists(st.sampled_from(["moves", "comes", "goes", "scores"]), min_size=1, max_size=3)
    ):
        at = data.draw(st.integers(0, max(0, len(entries) - 1)))
        if kind != "comes" and not entries:
            continue
        actor_id, points = ("somebody new", 1) if kind == "comes" else entries.pop(at)
        to = at if kind == "comes" else data.draw(st.integers(0, len(entries)))
        if kind != "goes":
            entries.insert(to, (actor_id, points + (kind == "scores")))
    after = TopicState(
        topic=before.topic, cursor=before.cursor, board=BoardResult(actors=before.board.actors)
    )
    for rank, (actor_id, points) in enumerate(entries, start=1):
        after.board.entries.add(rank=rank, actor_id=actor_id, points=points)
    now = applied(before, after)
    assert now is None or encoded(now) == encoded(after)


@given(polls(), polls())
def test_a_poll_has_an_exact_delta_unless_a_partition_is_gone_or_the_whole_is_as_short(
    before: TopicState, after: TopicState
) -> None:
    now = applied(before, after)
    if now is not None:
        assert encoded(now) == encoded(after)
    if {at.partition for at in before.cursor.positions} <= {at.partition for at in after.cursor.positions}:
        assert now is not None, "the names of its options alone make the whole longer"


@pytest.mark.parametrize("seed", range(5))
def test_a_chain_of_a_thousand_deltas_ends_at_the_servers_state(seed: int) -> None:
    random = Random(seed)
    poll = TopicState(
        topic="poll/mvp",
        cursor=Cursor(positions=[Position(partition=p, sequence=1) for p in range(4)]),
        tally=TallyResult(options=[OptionCount(option_id=f"o{at}") for at in range(5)]),
    )
    points = [random.randrange(50) for _ in range(60)]
    shown = {"poll": poll, "board": standing([], points)}
    deltas = 0
    for _ in range(1_000):
        after = {name: TopicState() for name in shown}
        after["poll"].CopyFrom(shown["poll"])
        after["poll"].cursor.positions[random.randrange(4)].sequence += 1
        after["poll"].tally.options[random.randrange(5)].votes += random.randrange(3)
        points[random.randrange(60)] += random.randrange(5)
        order = sorted(range(60), key=lambda actor: (-points[actor], actor))[: random.choice((49, 50))]
        after["board"] = standing(order, points)
        for name, state in after.items():
            now = applied(shown[name], state)
            deltas += now is not None
            shown[name] = state if now is None else now
            assert encoded(shown[name]) == encoded(state)
    assert deltas == 2 * 1_000, "none of them had to come whole"


def test_one_who_climbs_moves_the_others_without_naming_them() -> None:
    order = list(range(100))
    points = [1_000 - actor for actor in order]
    before = standing(order, points)
    points[60] = 990
    order.insert(10, order.pop(60))
    delta = diff(before, standing(order, points))
    assert delta is not None
    assert [(run.first, run.count, [entry.actor_id for entry in run.put]) for run in delta.board.entries] == [
        (0, 10, ["actor-60"]),
        (10, 50, []),
        (61, 39, []),
    ]


def test_a_value_that_stayed_is_not_said_again() -> None:
    before = standing([2, 1], [5, 5, 5])
    after = standing([2, 1], [5, 5, 5])
    after.cursor.positions[0].sequence = 10
    delta = diff(before, after)
    assert delta == TopicDelta(topic="board/top", cursor=[Position(partition=1, sequence=10)])


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("another topic", lambda after: setattr(after, "topic", "board/other")),
        ("another kind", lambda after: after.tally.SetInParent()),
        ("no value", lambda after: after.ClearField("board")),
        ("no cursor", lambda after: after.ClearField("cursor")),
        ("a partition less", lambda after: after.cursor.positions.pop()),
        ("partitions out of order", lambda after: after.cursor.positions.sort(key=lambda at: -at.partition)),
        ("another season", lambda after: setattr(after.board.season, "number", 8)),
        ("a sealed previous season", lambda after: setattr(after.board.previous, "sealed", True)),
        ("no previous season", lambda after: after.board.ClearField("previous")),
        ("shared ranks", lambda after: setattr(after.board.entries[3], "rank", 3)),
        ("too long a board", lambda after: after.board.entries.extend(many(wire_bounds.DELTA_ENTRIES_MAX))),
    ],
)
def test_what_a_delta_cannot_say_comes_whole(what: str, change: Any) -> None:
    before, after = (
        standing(
            list(range(9)),
            [1_000] * 9,
            season=SeasonSpan(number=7),
            previous=PastSeason(season=SeasonSpan(number=6)),
        )
        for _ in range(2)
    )
    for state in (before, after):
        state.cursor.positions.add(partition=2, sequence=9)
    after.board.entries[0].points += 1
    assert diff(before, after) is not None
    change(after)
    assert diff(before, after) is None, what


def test_a_season_that_is_only_there_at_last_comes_whole() -> None:
    before, after = (standing([1, 2], [5, 5, 5]) for _ in range(2))
    after.board.actors += 1
    assert diff(before, after) is not None
    after.board.season.SetInParent()
    assert diff(before, after) is None


def many(count: int) -> list[BoardEntry]:
    return [BoardEntry(rank=10 + at, actor_id=f"more-{at}", points=1) for at in range(count)]


def test_a_poll_with_other_options_and_a_pulse_with_a_new_kind_come_whole() -> None:
    before = TopicState(
        topic="t", tally=TallyResult(options=[OptionCount(option_id="a"), OptionCount(option_id="b")])
    )
    after = TopicState(
        topic="t", tally=TallyResult(options=[OptionCount(option_id="a"), OptionCount(option_id="c")])
    )
    assert diff(before, after) is None
    before = TopicState(topic="t", pulse=PulseResult(kinds=[KindRate(kind="clap", total=1)]))
    after = TopicState(
        topic="t", pulse=PulseResult(kinds=[KindRate(kind="clap", total=1), KindRate(kind="wow", total=1)])
    )
    assert diff(before, after) is None


def test_positions_that_are_only_put_in_order_come_whole() -> None:
    before, after = (
        TopicState(topic="t", cursor=Cursor(positions=[Position(partition=p, sequence=9) for p in order]))
        for order in ((2, 1), (1, 2))
    )
    assert diff(before, after) is None


def test_a_zero_that_changed_its_sign_is_said() -> None:
    before, after = (
        TopicState(
            topic="t",
            pulse=PulseResult(kinds=[KindRate(kind=f"a kind of some length {n}") for n in range(3)]),
        )
        for _ in range(2)
    )
    after.pulse.kinds[1].rate_per_s = -0.0
    now = applied(before, after)
    assert now is not None
    assert encoded(now) == encoded(after)


@pytest.mark.parametrize("personal", ["standing", "inbox"])
def test_a_personal_topic_has_no_deltas(personal: str) -> None:
    state = TopicState(
        topic="a topic whose name makes the state long", cursor=Cursor(positions=[Position(sequence=1)])
    )
    getattr(state, personal).SetInParent()
    assert diff(state, state) is None


POLL = TopicState(
    topic="t", tally=TallyResult(options=[OptionCount(option_id="a"), OptionCount(option_id="b")])
)
BOARD = TopicState(topic="t", board=BoardResult(entries=[BoardEntry(rank=1, actor_id="ada", points=5)]))
PULSE = TopicState(topic="t", pulse=PulseResult(kinds=[KindRate(kind="clap")]))


@pytest.mark.parametrize(
    ("before", "delta", "why"),
    [
        (POLL, TopicDelta(topic="other"), "a delta of 'other' for 't'"),
        (POLL, TopicDelta(topic="t", board=BoardDelta()), "a delta of a board for a tally"),
        (
            TopicState(topic="t"),
            TopicDelta(topic="t", audience=AudienceResult()),
            "for a topic without a value",
        ),
        (
            POLL,
            TopicDelta(topic="t", tally=TallyDelta(options=[OptionDelta(place=2)])),
            "a delta of option 2 of 2, from 0",
        ),
        (
            PULSE,
            TopicDelta(topic="t", pulse=PulseDelta(kinds=[KindDelta(place=4_000_000_000)])),
            "a delta of kind 4000000000 of 1, from 0",
        ),
        (
            BOARD,
            TopicDelta(topic="t", board=BoardDelta(entries=[EntryRun(first=1, count=1)])),
            "a delta of 1 entries from 1 on, of 1, from 0",
        ),
        (
            BOARD,
            TopicDelta(topic="t", board=BoardDelta(entries=[EntryRun(first=2**32 - 1, count=2**32 - 1)])),
            "entries from 4294967295 on, of 1, from 0",
        ),
        (
            BOARD,
            TopicDelta(
                topic="t", board=BoardDelta(entries=[EntryRun(count=1)] * (wire_bounds.DELTA_ENTRIES_MAX + 1))
            ),
            "a delta of more than 1000 entries",
        ),
        (
            BOARD,
            TopicDelta(
                topic="t", board=BoardDelta(entries=[EntryRun(put=many(wire_bounds.DELTA_ENTRIES_MAX + 1))])
            ),
            "a delta of more than 1000 entries",
        ),
    ],
)
def test_a_delta_that_does_not_fit_is_a_misfit_that_says_why(
    before: TopicState, delta: TopicDelta, why: str
) -> None:
    kept = encoded(before)
    with pytest.raises(DeltaMismatch, match=why):
        apply(before, delta)
    assert encoded(before) == kept


places = st.sampled_from([0, 1, 2, 7, 2**32 - 1])
deltas = {
    "tally": st.builds(TallyDelta, options=lists(st.builds(OptionDelta, place=places, votes=sizes))),
    "board": st.builds(
        BoardDelta, entries=lists(st.builds(EntryRun, first=places, count=places, put=entries)), actors=sizes
    ),
    "pulse": st.builds(PulseDelta, kinds=lists(st.builds(KindDelta, place=places, rate_per_s=floats))),
    "audience": values["audience"],
    "metric": values["metric"],
    "custom": values["custom"],
}


@settings(max_examples=200)
@given(any_states() | boards() | polls(), st.data())
def test_a_hostile_delta_is_applied_or_a_misfit_and_nothing_else(
    before: TopicState, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(list(deltas)))
    delta = TopicDelta(
        topic=before.topic,
        cursor=data.draw(lists(st.builds(Position, partition=small, sequence=sizes))),
        stage=data.draw(small),  # type: ignore[arg-type]
        **{kind: data.draw(deltas[kind])},
    )
    kept = encoded(before)
    try:
        after = apply(before, delta)
    except DeltaMismatch:
        pass
    else:
        TopicState.FromString(encoded(after))
    assert encoded(before) == kept
