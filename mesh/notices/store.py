"""Inboxes, readers and crowds as Redis holds them. Derived from streams; the keeper of notify writes them.

Bound: an inbox has INBOX_OWN_MAX notices, a crowd CROWD_MAX, a reader READ_MARKS_MAX marks; how many are
loaded at once is the caller's to bound.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from mesh.redis.database import Database


@dataclass(frozen=True, slots=True)
class StoredInbox:
    """Of one actor."""

    own: dict[int, StoredNotice]
    reader: Reader
    reader_sequence: int
    """In READERS; 0: nothing is stored of the actor."""
    segments: frozenset[str]


@dataclass(frozen=True, slots=True)
class Applied:
    """Of a stream: all up to `sequence` is in Redis. `stream`: the identity of the stream; "": nothing is."""

    stream: str = ""
    sequence: int = 0


class NoticeStore:
    """All methods raise RedisError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, actor_ids: Sequence[str]) -> list[StoredInbox]:
        """The inbox of each, in their order; each of one moment. One round trip for all, or on a cluster one
        for each, at the same time."""
        raise NotImplementedError

    async def load_crowds(self, crowds: Collection[str]) -> dict[str, dict[int, StoredNotice]]:
        """The notices to each of these crowds (mesh.notices.crowds), by their sequence."""
        raise NotImplementedError

    async def applied(self) -> dict[str, Applied]:
        """How far each of the streams NOTICES, READERS, SEGMENTS is in Redis, at least."""
        raise NotImplementedError
