"""An actor's inbox as the viewers of one game are shown it. Pure: the time comes in.

It is made of the actor's own notices, of those to everyone, to the actor's segments and to the game's viewers,
and of what the actor has read and wants to be told.

Its cursor has two positions: partition 0 is a sequence of NOTICES, up to which all is included that was shown,
and partition 1 the reader's in READERS. A view includes a cursor once it was loaded from a Redis that had
applied that much: a push alone says nothing of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gateway.known_notices import KnownNotices
from gateway.own_inbox import OwnInbox
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.internal.v1.internal_pb2 import Reader
from grandstand.notify.v1.notify_pb2 import InboxResult
from grandstand.wire.topics import INBOX
from mesh.notices.bounds import INBOX_NEWEST_MAX
from mesh.notices.inbox import Notices, Shown, merged

NOTICES, READERS = 0, 1
"""The partitions of an inbox's cursor."""

Merge = Callable[[Notices, Iterable[Notices], Reader, float], Shown]


class Seen(NamedTuple):
    """A cursor of an inbox."""

    notices: int = 0
    readers: int = 0


def seen_of(positions: Iterable[Position]) -> Seen:
    sequences = {NOTICES: 0, READERS: 0}
    for position in positions:
        if position.partition in sequences:
            sequences[position.partition] = max(sequences[position.partition], position.sequence)
    return Seen(sequences[NOTICES], sequences[READERS])


class InboxView:
    """`state` is None until all that it is made of was loaded; `version` grows with each new state."""

    __slots__ = ("_newest", "_own", "changes_at_s", "crowds", "state", "version")

    def __init__(self, own: OwnInbox) -> None:
        self._own = own
        self._newest = 0
        self.crowds: Sequence[KnownNotices] = ()
        self.state: TopicState | None = None
        self.version = 0
        self.changes_at_s: float | None = None
        """When time alone changes it next, Unix seconds."""

    def look(self, now_s: float, merge: Merge = merged) -> bool:
        """Makes the state anew; True if it shows something else than before."""
        own, parts = self._own, (self._own.notices, *self.crowds)
        if not all(part.is_loaded for part in parts):
            return False
        crowds = [crowd.by_sequence for crowd in self.crowds if crowd.by_sequence]
        shown = merge(own.notices.by_sequence, crowds, own.reader, now_s)
        self.changes_at_s = shown.changes_at_s
        inbox = InboxResult(newest=shown.notifications[:INBOX_NEWEST_MAX], unread=shown.unread)
        if self.state is not None and self.state.inbox == inbox:
            return False
        self._newest = max(self._newest, self.floor, *(part.newest for part in parts))
        positions = [
            Position(partition=partition, sequence=sequence)
            for partition, sequence in ((NOTICES, self._newest), (READERS, own.reader_sequence))
            if sequence
        ]
        self.state = TopicState(topic=INBOX, inbox=inbox)
        if positions:
            self.state.cursor.CopyFrom(Cursor(positions=positions))
        self.version += 1
        return True

    @property
    def floor(self) -> int:
        """All notices up to this sequence are included."""
        return min(part.floor for part in (self._own.notices, *self.crowds))

    def includes(self, seen: Seen) -> bool:
        return self.floor >= seen.notices and self._own.reader_sequence >= seen.readers
