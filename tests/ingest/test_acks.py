"""Acks that are encoded by hand are what protobuf would have made of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Ack, PublishResponse, Receipt
from ingest.acks import encoded
from ingest.session import SEQ_MAX
from tests.support.blocks import origin

numbers = st.one_of(st.integers(1, 300), st.integers(1, SEQ_MAX))
positions = st.builds(Position, partition=st.integers(0, 2**32 - 1), sequence=st.integers(0, 2**64 - 1))


@given(
    st.one_of(st.just(0), numbers),
    st.lists(positions, max_size=4),
    st.lists(st.tuples(st.integers(0, 9).map(origin), numbers, positions), max_size=12),
    st.lists(numbers, max_size=5),
)
def test_an_ack_says_what_it_was_made_of(
    origin_seq: int, at: list[Position], receipts: list[tuple[str, int, Position]], shed: list[int]
) -> None:
    # Those of one block share the object.
    receipts = [*receipts, *((*receipt[:2], receipts[-1][2]) for receipt in receipts)]
    ack = Ack(
        origin_seq=origin_seq,
        positions=at,
        receipts=[Receipt(origin_id=o, origin_seq=seq, position=where) for o, seq, where in receipts],
        shed_origin_seqs=shed,
        shed=len(shed),
    )
    made = encoded(origin_seq, at, receipts, shed, len(shed))
    assert made == PublishResponse(ack=ack).SerializeToString(deterministic=True)
