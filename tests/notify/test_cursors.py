"""How far an inbox was listed. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire.errors import Invalid
from mesh.notices.inbox import notification_id
from notify.cursors import BEYOND_MAX, Cursor, cursor_of, parsed

sequences = st.integers(0, 2**52)


@given(sequences, st.sets(sequences, max_size=100))
def test_a_cursor_tells_what_was_listed_from_what_comes(up_to: int, listed: set[int]) -> None:
    cursor = parsed("after", cursor_of(up_to, listed).encoded())
    newest = sorted(each for each in listed if each > up_to)[-BEYOND_MAX:]
    assert cursor == Cursor(up_to, frozenset(newest))
    assert all(each in cursor for each in [*newest, 0, up_to])
    assert cursor.newest == max([up_to, *newest])
    assert cursor.newest + 1 not in cursor


def test_a_notification_id_is_a_cursor_and_what_is_none_is_refused() -> None:
    assert parsed("up_to", notification_id(77)) == Cursor(77)
    for bad in ("", "77", notification_id(77).upper() + "G", notification_id(77) + ".", "x" * 10_000):
        with pytest.raises(Invalid, match=r"up_to: .* is no cursor; give one of ListInbox"):
            parsed("up_to", bad)
