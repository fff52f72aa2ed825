"""What an actor's inbox shows, of what is stored. Pure: the time comes in.

Hidden are notices that are cancelled, expired or muted; that fell into quiet hours which last (but urgent
ones); and those not read of which a newer one with the same game and collapse key was shown, even if that one
has expired since.

A notification's id is the sequence of its notice in the stream NOTICES, 16 hex digits: it sorts by time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from operator import attrgetter
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import PRIORITY_URGENT, Notification
from grandstand.wire.errors import Invalid, shown
from mesh.notices.quiet_hours import Quiet, quiet_of, quiet_until_s

_ID = re.compile(r"[0-9a-f]{16}\Z")
_by_sequence = attrgetter("sequence")


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A stored notice, decoded once for all who are shown it."""

    sequence: int
    due_s: float
    expires_s: float
    game_id: str
    code: str
    collapse: tuple[str, str] | None
    is_urgent: bool
    is_cancelled: bool
    generation: int
    """Of the game, if it is to its viewers; 0: not known."""
    notification: Notification
    """As one that is not read. Not to be changed."""
    encoded: dict[bool, bytes] = field(default_factory=dict, compare=False, repr=False)
    """Kept for who sends it to many: by whether it is read, as that one wants it."""


@dataclass(frozen=True, slots=True)
class Marks:
    """A Reader, decoded once."""

    read_up_to: int
    read: frozenset[int]
    mutes: frozenset[tuple[str, str]]
    quiet: Quiet | None


class MergedInbox(NamedTuple):
    entries: list[tuple[InboxEntry, bool]]
    """Newest first, each with whether it is read."""
    unread: int
    changes_at_s: float | None
    """When time alone changes it next, Unix seconds: something expires, or quiet hours end."""

    def notifications(self, most: int) -> list[Notification]:
        """The newest, newest first."""
        return [notification_of(entry, is_read) for entry, is_read in self.entries[:most]]


def entry_of(sequence: int, stored: StoredNotice) -> InboxEntry:
    notice = stored.notice
    notification = Notification(
        notification_id=notification_id(sequence),
        sent_at=stored.due_at,
        game_id=notice.game_id,
        title=notice.title,
        text=notice.text,
        code=notice.code,
        data=notice.data,
        priority=notice.priority,
        expires_at=stored.expires_at,
    )
    return InboxEntry(
        sequence,
        _seconds(stored.due_at),
        _seconds(stored.expires_at),
        notice.game_id,
        notice.code,
        (notice.game_id, notice.collapse_key) if notice.collapse_key else None,
        notice.priority == PRIORITY_URGENT,
        stored.cancelled,
        stored.generation,
        notification,
    )


def marks_of(reader: Reader) -> Marks:
    preferences = reader.preferences
    return Marks(
        reader.read_up_to,
        frozenset(reader.read),
        frozenset((mute.game_id, mute.code) for mute in preferences.mutes),
        quiet_of(preferences.quiet_hours) if preferences.HasField("quiet_hours") else None,
    )


def merged(
    own: Collection[InboxEntry], crowds: Iterable[Collection[InboxEntry]], marks: Marks, now_s: float
) -> MergedInbox:
    """The inbox of the actor whose own notices and marks these are, and who belongs to these crowds."""
    entries: list[tuple[InboxEntry, bool]] = []
    unread = 0
    changes_at_s = inf
    collapsed: set[tuple[str, str]] = set()
    read_up_to, read, mutes, quiet = marks.read_up_to, marks.read, marks.mutes, marks.quiet
    quiet_since_s = inf if quiet is None else now_s - quiet.LONGEST_S
    for entry in sorted(chain(own, *crowds), key=_by_sequence, reverse=True):
        if entry.is_cancelled or (mutes and _is_muted(entry, mutes)):
            continue
        if quiet is not None and entry.due_s > quiet_since_s and not entry.is_urgent:
            until_s = quiet_until_s(quiet, entry.due_s)
            if now_s < until_s:
                if until_s < entry.expires_s:
                    changes_at_s = min(changes_at_s, until_s)
                continue
        sequence, collapse, expires_s = entry.sequence, entry.collapse, entry.expires_s
        is_read = sequence <= read_up_to or sequence in read
        if collapse is not None:
            if collapse in collapsed and not is_read:
                continue
            collapsed.add(collapse)
        if expires_s > now_s:
            if expires_s < changes_at_s:
                changes_at_s = expires_s
            if not is_read:
                unread += 1
            entries.append((entry, is_read))
    return MergedInbox(entries, unread, None if changes_at_s == inf else changes_at_s)


def notification_of(entry: InboxEntry, is_read: bool) -> Notification:
    """Not to be changed."""
    if not is_read:
        return entry.notification
    notification = Notification(read=True)
    notification.MergeFrom(entry.notification)
    return notification


def notification_id(sequence: int) -> str:
    return f"{sequence:016x}"


def sequence_of(field: str, value: str) -> int:
    """The sequence that a notification's id stands for. Raises Invalid."""
    if not _ID.match(value):
        raise Invalid(f"{field}: {shown(value)} is no notification_id; those have 16 hex digits")
    return int(value, 16)


def _is_muted(entry: InboxEntry, mutes: frozenset[tuple[str, str]]) -> bool:
    game_id, code = entry.game_id, entry.code
    return (game_id, code) in mutes or (game_id, "") in mutes or ("", code) in mutes


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9
