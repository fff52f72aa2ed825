"""What an actor's inbox shows, of what is stored. Pure: the time comes in.

Hidden are notices that are cancelled, expired or muted; that fell into quiet hours which last (but urgent
ones); and those not read of which a newer one with the same game and collapse key is or was shown, also if
that one has expired.

A notification's id is the sequence of its notice in the stream NOTICES, 16 hex digits: it sorts by time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import Notification
from grandstand.wire.errors import Invalid, shown

Notices = Mapping[int, StoredNotice]
"""By their sequence in the stream NOTICES."""

_ID = re.compile(r"[0-9a-f]{16}\Z")


class Shown(NamedTuple):
    notifications: list[Notification]
    """Newest first, all of them."""
    unread: int
    changes_at_s: float | None
    """When time alone changes it next, Unix seconds: something expires, or quiet hours end."""


def merged(own: Notices, crowds: Iterable[Notices], reader: Reader, now_s: float) -> Shown:
    """The inbox of the actor whose own notices and marks these are, and who belongs to these crowds."""
    raise NotImplementedError


def notification_id(sequence: int) -> str:
    return f"{sequence:016x}"


def sequence_of(field: str, value: str) -> int:
    """The sequence that a notification's id stands for. Raises Invalid."""
    if not _ID.match(value):
        raise Invalid(f"{field}: {shown(value)} is no notification_id; those have 16 hex digits")
    return int(value, 16)
