"""What a notification makes of an actor's inbox. Pure: the time comes in.

Versions grow with every change, and are taken from the clock: should Redis ever lose an inbox, the next one
is still newer than what viewers have seen (I5).

Bound: INBOX_NEWEST_MAX notifications of NOTIFICATION_BYTES_MAX each; the oldest goes, read or not.
"""

from __future__ import annotations

from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import InboxResult, Notification
from grandstand.wire import ids
from grandstand.wire.errors import Invalid
from notify import bounds


def check(notification: Notification) -> None:
    """Raises Invalid."""
    ids.check_id("notification.notification_id", notification.notification_id)
    size = notification.ByteSize()
    if size > bounds.NOTIFICATION_BYTES_MAX:
        raise Invalid(
            f"notification: has {size} bytes; at most {bounds.NOTIFICATION_BYTES_MAX} are allowed, "
            "shorten its title or text"
        )


def with_notification(inbox: Inbox, notification: Notification, now_us: int) -> Inbox | None:
    """The inbox with it in front; None if it is there already: who is unsure may deliver it again."""
    known = inbox.value.newest
    if any(each.notification_id == notification.notification_id for each in known):
        return None
    newest = sorted([notification, *known], key=lambda each: each.notification_id, reverse=True)
    value = InboxResult(
        newest=newest[: bounds.INBOX_NEWEST_MAX], unread=inbox.value.unread + (not notification.read)
    )
    return Inbox(version=max(inbox.version + 1, now_us), value=value)
