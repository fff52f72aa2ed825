"""What an inbox shows, against a model that asks each rule alone; and that time changes it when it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import PRIORITY_URGENT, Mute, QuietHours
from grandstand.wire.errors import Invalid
from mesh.notices.inbox import (
    InboxEntry,
    MergedInbox,
    entry_of,
    marks_of,
    merged,
    notification_id,
    sequence_of,
)
from mesh.notices.quiet_hours import quiet_of

NOON_S = 1_790_000_000
DAY_S = 86_400


def stored(
    due_s: int = 0,
    life_s: int = 7 * DAY_S,
    game_id: str = "",
    code: str = "c",
    collapse_key: str = "",
    *,
    urgent: bool = False,
    cancelled: bool = False,
) -> StoredNotice:
    notice = StoredNotice(cancelled=cancelled)
    notice.notice.game_id = game_id
    notice.notice.code = code
    notice.notice.collapse_key = collapse_key
    notice.notice.title = "t"
    notice.notice.priority = PRIORITY_URGENT if urgent else 0
    notice.due_at.FromSeconds(NOON_S + due_s)
    notice.expires_at.FromSeconds(NOON_S + due_s + life_s)
    return notice


NOTICES = st.builds(
    stored,
    st.integers(-3 * DAY_S, 0),
    st.integers(60, 4 * DAY_S),
    st.sampled_from(["", "g", "h"]),
    st.sampled_from(["c", "d"]),
    st.sampled_from(["", "", "k", "l"]),
    urgent=st.booleans(),
    cancelled=st.sampled_from([False, False, False, True]),
)
READERS = st.builds(
    lambda up_to, read, mutes, quiet: _reader(up_to, read, mutes, quiet),
    st.integers(0, 12),
    st.sets(st.integers(0, 40)),
    st.lists(st.sampled_from([("g", ""), ("", "d"), ("h", "c")]), max_size=2),
    st.sampled_from([None, ("22:00", "07:30"), ("00:10", "23:50"), ("09:00", "17:00")]),
)


def _reader(
    up_to: int, read: set[int], mutes: list[tuple[str, str]], quiet: tuple[str, str] | None
) -> Reader:
    reader = Reader(read_up_to=up_to, read=sorted(read))
    reader.preferences.mutes.extend(Mute(game_id=game_id, code=code) for game_id, code in mutes)
    if quiet is not None:
        hours = {"from": quiet[0], "until": quiet[1]}
        reader.preferences.quiet_hours.CopyFrom(QuietHours(**hours, time_zone="Europe/Berlin"))
    return reader


def is_let_through(entry: InboxEntry, reader: Reader, now_s: float) -> bool:
    """Not cancelled, not muted, and not waiting for the end of quiet hours."""
    for mute in reader.preferences.mutes:
        if mute.game_id in ("", entry.game_id) and mute.code in ("", entry.code):
            return False
    quiet = quiet_of(reader.preferences.quiet_hours)
    until_s = quiet.until_s(entry.due_s) if quiet else None
    return not entry.is_cancelled and (entry.is_urgent or until_s is None or now_s >= until_s)


@given(st.lists(NOTICES, max_size=12), st.lists(NOTICES, max_size=12), READERS, st.integers(0, 5 * DAY_S))
def test_an_inbox_shows_what_each_rule_lets_through_newest_first(
    own: list[StoredNotice], crowd: list[StoredNotice], reader: Reader, later_s: int
) -> None:
    entries = [entry_of(sequence, each) for sequence, each in enumerate([*own, *crowd], 1)]
    mine, theirs = entries[: len(own)], entries[len(own) :]
    marks, now_s = marks_of(reader), NOON_S + later_s
    found = merged(theirs, [mine, []], marks, now_s)
    through = [entry for entry in entries if is_let_through(entry, reader, now_s)]
    expected = [
        (entry, is_read)
        for entry in reversed(through)
        for is_read in [entry.sequence <= reader.read_up_to or entry.sequence in reader.read]
        if entry.expires_s > now_s
        and (
            is_read
            or entry.collapse is None
            or not any(e.collapse == entry.collapse and e.sequence > entry.sequence for e in through)
        )
    ]
    assert found.entries == expected
    assert found.unread == sum(not is_read for _, is_read in expected)
    newest = found.notifications(3)
    assert [(n.notification_id, n.read) for n in newest] == [
        (notification_id(entry.sequence), is_read) for entry, is_read in expected[:3]
    ]


@given(st.lists(NOTICES, max_size=12), READERS, st.integers(0, 3 * DAY_S), st.floats(0, 1))
def test_time_alone_changes_an_inbox_only_when_it_says(
    own: list[StoredNotice], reader: Reader, later_s: int, share: float
) -> None:
    entries = [entry_of(sequence, each) for sequence, each in enumerate(own, 1)]
    marks, now_s = marks_of(reader), float(NOON_S + later_s)

    def at(moment_s: float) -> MergedInbox:
        return merged(entries, [], marks, moment_s)

    found = at(now_s)
    if found.changes_at_s is None:
        assert at(now_s + 1000 * DAY_S).entries == found.entries
        return
    assert found.changes_at_s > now_s
    between_s = min(now_s + share * (found.changes_at_s - now_s), found.changes_at_s - 0.001)
    assert at(max(now_s, between_s)) == found
    after = at(found.changes_at_s)
    assert after.changes_at_s is None or after.changes_at_s > found.changes_at_s


def test_what_a_newer_one_replaced_does_not_come_back_when_that_has_expired() -> None:
    old, new = entry_of(1, stored(collapse_key="lead")), entry_of(2, stored(life_s=60, collapse_key="lead"))
    taken_back = entry_of(2, stored(collapse_key="lead", cancelled=True))
    unread = marks_of(Reader())
    assert merged([old, new], [], unread, NOON_S + 59).entries == [(new, False)]
    assert merged([old, new], [], unread, NOON_S + 60).entries == []
    assert merged([old, taken_back], [], unread, NOON_S + 60).entries == [(old, False)]


def test_an_id_is_a_sequence_and_sorts_by_it() -> None:
    assert notification_id(255) == "00000000000000ff" < notification_id(256)
    assert sequence_of("up_to", notification_id(2**63)) == 2**63
    for wrong in ("", "ff", "0" * 15 + "G", "0" * 17, "00000000000000FF", "-" * 16):
        with pytest.raises(Invalid, match="up_to"):
            sequence_of("up_to", wrong)
