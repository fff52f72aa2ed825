"""Which numbers Send takes of an origin: none that could fall behind its anti-replay window (I2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.origins import SendOrigins
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Exhausted, GrandstandError, NotNow
from tests.support.blocks import origin

CREDIT = wire_bounds.VIEWER_CREDIT


@given(st.lists(st.tuples(st.integers(1, 3 * CREDIT), st.booleans()), max_size=200))
def test_i2_whatever_a_client_sends_no_number_taken_falls_behind_the_window(
    sends: list[tuple[int, bool]],
) -> None:
    """The booleans say whether a number is answered at once."""
    origins, under_way, newest = SendOrigins(), set[int](), 0
    for number, is_answered in sends:
        try:
            origins.take(origin(1), number)
        except GrandstandError:
            continue
        under_way.add(number)
        newest = max(newest, number)
        assert newest - min(under_way) < CREDIT
        if is_answered:
            origins.answered(origin(1), number)
            under_way.discard(number)


def test_each_refusal_says_which_way_out_there_is() -> None:
    origins = SendOrigins()
    origins.take(origin(1), CREDIT)
    with pytest.raises(Exhausted, match=f"{2 * CREDIT} is {CREDIT} from {CREDIT}, .* wait for answers"):
        origins.take(origin(1), 2 * CREDIT)
    origins.answered(origin(1), CREDIT)
    origins.take(origin(1), 2 * CREDIT)
    with pytest.raises(NotNow, match="send it under a new number"):
        origins.take(origin(1), CREDIT)


def test_the_least_recently_used_origin_is_forgotten() -> None:
    origins = SendOrigins(remembered_max=2)
    for by in (1, 2, 1, 3):
        origins.take(origin(by), 1_000)
        origins.answered(origin(by), 1_000)
    assert len(origins) == 2
    with pytest.raises(NotNow):
        origins.take(origin(1), 1)
    origins.take(origin(2), 1)
