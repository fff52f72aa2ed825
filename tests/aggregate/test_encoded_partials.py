"""What is put together by hand is what protobuf would write."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregate import encoded_partials
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from mesh.wire_format import sized

COUNTS = st.lists(st.integers(0, 2**64 - 1), max_size=4)
COUNT = st.integers(0, 2**64 - 1)


@given(COUNTS, COUNT, COUNTS, COUNTS, COUNT, COUNT)
def test_a_tally(
    votes: list[int], voters: int, weights: list[int], guest_votes: list[int], guest_voters: int, voided: int
) -> None:
    option_ids = [f"option-{at}" for at in range(len(votes))]
    found = encoded_partials.tally(
        encoded_partials.options(option_ids),
        votes,
        voters,
        weights,
        guest_votes,
        guest_voters,
        voided,
    )
    expected = TallyPartial(
        option_ids=option_ids,
        votes=votes,
        voters=voters,
        weights=weights,
        guest_votes=guest_votes if guest_voters else (),
        guest_voters=guest_voters,
        voided=voided,
    )
    assert found == expected.SerializeToString()


@given(st.integers(0, 15), st.integers(0, 2**63), st.sampled_from((0, 1, 2, 3)), st.integers(0, 2**33))
def test_a_partial(partition: int, sequence: int, stage: int, changed_at_s: int) -> None:
    value = TallyPartial(voters=1)
    found = b"".join(
        (
            encoded_partials.identity("game", "poll/x", partition),
            encoded_partials.moment(sequence, stage, changed_at_s),  # type: ignore[arg-type]
            encoded_partials.value_tag("tally"),
            sized(value.SerializeToString()),
        )
    )
    expected = Partial(
        game_id="game",
        topic="poll/x",
        partition=partition,
        sequence=sequence,
        stage=stage,  # type: ignore[arg-type]
        changed_at_s=changed_at_s,
        tally=value,
    )
    assert found == expected.SerializeToString()
