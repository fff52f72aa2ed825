"""A tally's delta, put together from numbers, says what grandstand.wire.delta says of the states."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from grandstand.wire import delta
from mesh.results_feed.view import GameView
from mesh.wire_format import varint

NUMBERS = st.integers(0, 3) | st.integers(0, 2**64 - 1) | st.sampled_from([127, 128, 16_383, 16_384])


@st.composite
def partials(draw: st.DrawFn) -> list[Partial]:
    """Of one poll, of the partitions 0 and 5; some of older or newer definitions."""
    found = []
    for sequence in range(1, draw(st.integers(2, 6))):
        options = ["red", "blue", "ü" * 40][: draw(st.integers(0, 3))]
        many = draw(st.lists(NUMBERS.map(lambda n: n >> 2), min_size=12, max_size=12))
        tally = TallyPartial(
            option_ids=options,
            votes=many[: len(options)],
            voters=many[3],
            guest_voters=many[4],
            voided=many[5],
        )
        if draw(st.booleans()):
            tally.weights.extend(many[6 : 6 + len(options)])
        if draw(st.booleans()):
            tally.guest_votes.extend(many[9 : 9 + draw(st.integers(0, len(options)))])
        partition, stage = draw(st.sampled_from([0, 5])), draw(st.integers(0, 3))
        found.append(
            Partial(topic="poll/x", partition=partition, sequence=sequence * 100, stage=stage, tally=tally)
        )
    return found


@settings(max_examples=150, deadline=None)
@given(partials(), st.integers(1, 2))
def test_a_delta_of_numbers_makes_the_same_state(offered: list[Partial], partitions: int) -> None:
    view = GameView()
    view.fold_in(range(partitions))
    shown = None
    for partial in offered:
        view.offer(partial)
        before, shown = shown, view.shown("poll/x", 0.0)
        if before is None:
            continue
        encoded = shown.delta(before)
        said = delta.diff(before.state, shown.state)
        if encoded is None:
            assert said is None
            continue
        found = TopicDelta.FromString(encoded)
        assert delta.apply(before.state, found) == shown.state
        assert said is None or found == said


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_encoded_as_protobuf_does(value: int) -> None:
    expected = TallyPartial(voters=value or 1).SerializeToString()[1:]
    assert varint(value or 1) == expected
    assert varint(0) == b"\0"
