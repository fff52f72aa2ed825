"""An actor's inbox: the newest notifications, each once, in versions that only grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.own_inbox import OwnInbox
from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import Notification
from grandstand.wire.errors import Invalid
from notify import bounds as notify_bounds
from notify.inbox import check, with_notification


def note(n: int, *, read: bool = False, text: str = "") -> Notification:
    return Notification(notification_id=f"n{n:06d}", title=f"number {n}", text=text, read=read)


def delivered(*notifications: Notification, now_us: int = 1) -> Inbox:
    inbox = Inbox()
    for notification in notifications:
        inbox = with_notification(inbox, notification, now_us) or inbox
    return inbox


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=60))
def test_the_newest_are_kept_newest_first_and_what_is_unread_counted_once(
    sent: list[tuple[int, bool]],
) -> None:
    inbox, before = Inbox(), 0
    kept: dict[int, bool] = {}
    unread = 0
    for n, read in sent:
        after = with_notification(inbox, note(n, read=read), now_us=7)
        assert (after is None) == (n in kept)
        if after is None:
            continue
        kept[n] = read
        unread += not read
        kept = {n: kept[n] for n in sorted(kept, reverse=True)[: notify_bounds.INBOX_NEWEST_MAX]}
        assert after.version > before
        inbox, before = after, after.version
        assert list(inbox.value.newest) == [note(n, read=read) for n, read in kept.items()]
        assert inbox.value.unread == unread


def test_an_inbox_that_was_lost_comes_back_newer_than_what_was_seen() -> None:
    seen = delivered(note(1), note(2), now_us=5_000)
    assert seen.version == 5_001
    assert delivered(note(3), now_us=6_000).version > seen.version


def test_a_notification_that_is_too_long_or_has_no_id_is_refused() -> None:
    check(note(1, text="x" * 1_900))
    with pytest.raises(Invalid, match=r"notification: has 20\d\d? bytes; at most 2048 are allowed, shorten"):
        check(note(1, text="x" * 2_040))
    with pytest.raises(Invalid, match="notification_id: is empty"):
        check(Notification(title="no id"))


@given(st.permutations(range(6)), st.data())
def test_whatever_the_order_the_newest_version_is_shown_and_none_goes_back(
    order: list[int], data: st.DataObject
) -> None:
    history = [Inbox()]
    for n in range(1, 6):
        after = with_notification(history[-1], note(n), now_us=1)
        assert after is not None
        history.append(after)
    own, shown = OwnInbox(), -1
    arrivals = [*order, *data.draw(st.lists(st.sampled_from(order)))]
    for at in arrivals:
        assert own.take(history[at].SerializeToString()) == (at > shown)
        shown = max(shown, at)
        assert own.state is not None
        assert (own.state.inbox, own.version) == (history[shown].value, history[shown].version)
        assert [p.sequence for p in own.state.cursor.positions] == ([shown] if shown else [])
    assert shown == 5
