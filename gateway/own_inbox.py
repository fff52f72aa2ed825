"""An actor's inbox as a gateway knows it, from two sources: what is pushed, and what is stored. Pure.

Each is absolute and versioned, so the newest of both is the inbox, in whatever order they come (I5).
"""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import InboxResult
from grandstand.wire.topics import INBOX


class OwnInbox:
    """`state` is None until something is known; an inbox that was never written has version 0."""

    __slots__ = ("state", "version")

    def __init__(self) -> None:
        self.version = -1
        self.state: TopicState | None = None

    def take(self, encoded: bytes) -> bool:
        """An internal Inbox, b"" for one never written; True if it is news. Raises DecodeError."""
        inbox = Inbox.FromString(encoded)
        if inbox.version <= self.version:
            return False
        self.version = inbox.version
        self.state = TopicState(topic=INBOX, inbox=inbox.value if inbox.HasField("value") else InboxResult())
        if inbox.version:
            self.state.cursor.CopyFrom(Cursor(positions=[Position(sequence=inbox.version)]))
        return True
