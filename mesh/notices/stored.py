"""What Redis says of inboxes (mesh.notices.store). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice


@dataclass(frozen=True, slots=True)
class StoredInbox:
    """Of one actor."""

    own: dict[int, StoredNotice]
    reader: Reader
    reader_sequence: int
    """In READERS; 0: nothing is stored of the actor."""
    segments: frozenset[str]


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Of a stream: all up to `sequence` is in Redis. `stream`: the identity of the stream; "": nothing is."""

    stream: str = ""
    sequence: int = 0
