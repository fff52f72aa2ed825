"""An actor's inbox as the viewers of one game are shown it. Pure: the time comes in.

It is made of the actor's own notices, of those to everyone, to the actor's segments and to the game's
viewers, and of what the actor has read and wants to be told.

Its cursor has two positions: partition 0 is a sequence of NOTICES, up to which all is included that was
shown, and partition 1 the reader's in READERS. A view includes a cursor once it was loaded from a Redis that
had applied that much: a push alone says nothing of those before it.

What inboxes have in common is made once (InboxLooks): a notice to everyone costs thousands of inboxes that
show nothing of their own little more than one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from gateway.known_notices import KnownNotices
from gateway.own_inbox import OwnInbox
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.notify.v1.notify_pb2 import InboxResult
from grandstand.wire.topics import INBOX
from mesh.notices.bounds import INBOX_NEWEST_MAX
from mesh.notices.inbox import InboxEntry, merged, notification_of
from mesh.wire_format import LENGTH_DELIMITED, VARINT, sized, tag, varint

NOTICES, READERS = 0, 1
"""The partitions of an inbox's cursor."""

_NEWEST = tag(InboxResult, "newest", LENGTH_DELIMITED)
_UNREAD = tag(InboxResult, "unread", VARINT)
_INBOX = tag(TopicState, "inbox", LENGTH_DELIMITED)


class Seen(NamedTuple):
    """A cursor of an inbox."""

    notices: int = 0
    readers: int = 0

    def covers(self, other: Seen) -> bool:
        return self.notices >= other.notices and self.readers >= other.readers


def seen_of(positions: Iterable[Position]) -> Seen:
    sequences = {NOTICES: 0, READERS: 0}
    for position in positions:
        if position.partition in sequences:
            sequences[position.partition] = max(sequences[position.partition], position.sequence)
    return Seen(sequences[NOTICES], sequences[READERS])


class RenderedInbox(NamedTuple):
    """What an inbox shows."""

    content: bytes
    """The encoded InboxResult; the same for the same notices, read or not."""
    changes_at_s: float | None


class InboxLooks:
    """Makes inboxes. Bound: `kept_max` of them are remembered, the one used longest ago goes first."""

    def __init__(self, kept_max: int = 256) -> None:
        self._kept_max = kept_max
        self._looks: OrderedDict[Hashable, RenderedInbox] = OrderedDict()
        """Of actors who have no notices of their own: by marks and crowds."""

    def look(self, own: OwnInbox, crowds: Sequence[KnownNotices], now_s: float) -> RenderedInbox:
        if own.notices.by_sequence:
            return _look(own, crowds, now_s)
        key = (own.marks, *((crowd, crowd.changes) for crowd in crowds))
        known = self._looks.get(key)
        if known is None or (known.changes_at_s is not None and known.changes_at_s <= now_s):
            known = self._looks[key] = _look(own, crowds, now_s)
            if len(self._looks) > self._kept_max:
                self._looks.popitem(last=False)
        self._looks.move_to_end(key)
        return known


def _look(own: OwnInbox, crowds: Sequence[KnownNotices], now_s: float) -> RenderedInbox:
    entries = [crowd.by_sequence.values() for crowd in crowds if crowd.by_sequence]
    shown = merged(own.notices.by_sequence.values(), entries, own.marks, now_s)
    parts = [_field(entry, is_read) for entry, is_read in shown.entries[:INBOX_NEWEST_MAX]]
    if shown.unread:
        parts.append(_UNREAD + varint(shown.unread))
    return RenderedInbox(b"".join(parts), shown.changes_at_s)


def _field(entry: InboxEntry, is_read: bool) -> bytes:
    """Of an InboxResult."""
    field = entry.encoded.get(is_read)
    if field is None:
        encoded = notification_of(entry, is_read).SerializeToString()
        field = entry.encoded[is_read] = _NEWEST + sized(encoded)
    return field


class InboxView:
    """`state`, an encoded TopicState, is None until all that it is made of was loaded; `version` grows with
    each new state."""

    __slots__ = ("_content", "_included", "_newest", "_own", "changes_at_s", "crowds", "state", "version")

    def __init__(self, own: OwnInbox) -> None:
        self._own = own
        self._newest = 0
        self._content = b""
        self._included = Seen()
        """What `state` was made of."""
        self.crowds: Sequence[KnownNotices] = ()
        self.state: bytes | None = None
        self.version = 0
        self.changes_at_s: float | None = None
        """When time alone changes it next, Unix seconds."""

    def look(self, looks: InboxLooks, now_s: float) -> bool:
        """Makes the state again; True if it shows something else than before."""
        own, parts = self._own, (self._own.notices, *self.crowds)
        if not all(part.is_loaded for part in parts):
            return False
        content, self.changes_at_s = looks.look(own, self.crowds, now_s)
        self._included = self.known()
        self._newest = max(self._newest, self._included.notices, *(part.newest for part in parts))
        is_news = self.state is None or self._content != content
        self._content = content
        # Its cursor is the newest, though it shows the same.
        self.state = _cursor(self._newest, own.reader_sequence) + _INBOX + sized(content)
        self.version += is_news
        return is_news

    def known(self) -> Seen:
        """What the state would include if it were made now."""
        floor = min(part.floor for part in (self._own.notices, *self.crowds))
        return Seen(floor, self._own.reader_sequence)

    def includes(self, seen: Seen) -> bool:
        """Whether the state does."""
        return self._included.covers(seen)


@lru_cache(maxsize=64)
def _cursor(notices: int, readers: int) -> bytes:
    """An encoded TopicState that has nothing but its name and cursor; the same for many inboxes."""
    state = TopicState(topic=INBOX)
    positions = [Position(partition=part, sequence=at) for part, at in enumerate((notices, readers)) if at]
    if positions:
        state.cursor.CopyFrom(Cursor(positions=positions))
    return state.SerializeToString()
