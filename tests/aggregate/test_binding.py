"""Whether a state is of the stream that is there, and what to go on from: every case, as a table."""

from __future__ import annotations

import itertools

import pytest

from aggregate.binding import Choice, Fit, choose, fit, fits
from grandstand.internal.v1.internal_pb2 import BlockIdentity, PartitionState

STORED_US = 1_700_000_000_000_000


def block(sequence: int = 200, stored_at_us: int = STORED_US, digest: bytes = b"d" * 16) -> BlockIdentity:
    return BlockIdentity(sequence=sequence, stored_at_us=stored_at_us, digest=digest)


@pytest.mark.parametrize(
    ("there", "last", "expected"),
    [
        (block(), 200, Fit.SAME),
        (block(), 5_000, Fit.SAME),
        (block(stored_at_us=STORED_US + 900), 200, Fit.SAME),  # told in other units
        (block(stored_at_us=STORED_US + 2_000), 400, Fit.OTHER),  # the same bytes, sent again
        (block(digest=b"e" * 16), 400, Fit.OTHER),
        (None, 199, Fit.BEYOND),
        (None, 0, Fit.BEYOND),
        (None, 200, Fit.GONE),
        (None, 400, Fit.GONE),
    ],
)
def test_a_state_fits_the_stream_that_still_holds_its_block(
    there: BlockIdentity | None, last: int, expected: Fit
) -> None:
    state = PartitionState(applied=200, bound=block())
    assert fit(state, there, last) is expected


@pytest.mark.parametrize(
    ("first", "expected"), [(0, Fit.GONE), (201, Fit.GONE), (400, Fit.GONE), (8, Fit.OTHER)]
)
def test_a_purge_takes_no_block_from_between_others(first: int, expected: Fit) -> None:
    """The stream was cut, grew again, and another partition's block that stood at the bound was purged."""
    state = PartitionState(applied=200, bound=block())
    assert fit(state, None, 400, first) is expected


def test_a_state_that_is_bound_to_no_block_of_its_own_is_refused() -> None:
    assert not fits(fit(PartitionState(applied=200), None, 400))
    assert not fits(fit(PartitionState(applied=201, bound=block()), block(), 400))


@pytest.mark.parametrize(
    ("applied", "is_well", "floor", "newest", "newest_is_well", "expected"),
    [
        (0, False, 0, 0, False, Choice.FIRST_BLOCK),
        (150, True, 0, 0, False, Choice.STATE),
        (150, False, 0, 0, False, Choice.FIRST_BLOCK),
        (150, True, 150, 150, True, Choice.STATE),
        (150, True, 200, 200, True, Choice.CHECKPOINT),
        (150, True, 0, 200, True, Choice.STATE),  # nothing is purged yet
        (150, False, 0, 200, False, Choice.FIRST_BLOCK),  # a checkpoint beyond the end of the stream
        (150, True, 200, 0, False, Choice.UNREADABLE),  # the bucket was deleted
        (150, True, 200, 180, True, Choice.UNREADABLE),
        (0, False, 200, 0, False, Choice.UNREADABLE),
        (0, False, 200, 200, False, Choice.UNREADABLE),
        (0, False, 200, 300, True, Choice.CHECKPOINT),
        (300, False, 200, 200, True, Choice.CHECKPOINT),
        (300, True, 200, 200, True, Choice.STATE),
    ],
)
def test_what_is_gone_on_from(
    applied: int, is_well: bool, floor: int, newest: int, newest_is_well: bool, expected: Choice
) -> None:
    found = choose(
        applied=applied, is_well=is_well, floor=floor, newest=newest, newest_is_well=newest_is_well
    )
    assert found is expected


def test_i4_nothing_is_ever_gone_on_from_that_lacks_purged_blocks() -> None:
    for applied, floor, newest in itertools.product(range(4), repeat=3):
        for is_well, newest_is_well in itertools.product((False, True), repeat=2):
            match choose(
                applied=applied, is_well=is_well, floor=floor, newest=newest, newest_is_well=newest_is_well
            ):
                case Choice.STATE:
                    assert is_well
                    assert applied >= floor
                case Choice.CHECKPOINT:
                    assert newest_is_well
                    assert newest >= floor
                case Choice.FIRST_BLOCK:
                    assert not floor
                case Choice.UNREADABLE:
                    assert floor
