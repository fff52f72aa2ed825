"""What a gateway knows of an actor's inbox: its own notices, what it has read, and its segments. Pure.

Readers have versions, so the newest is taken in whatever order they come (I5). Segments that Redis has lost,
as far as that can be told, stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.known_notices import KnownNotices
from grandstand.internal.v1.internal_pb2 import InboxChange, Reader
from mesh.jetstream.subjects import NOTICES_STREAM, READERS_STREAM, SEGMENTS_STREAM
from mesh.notices import bounds
from mesh.notices.inbox import Marks, marks_of
from mesh.notices.stored import StoredInbox, StreamPosition

_NOTHING = StreamPosition()


class OwnInbox:
    __slots__ = ("_readers_stream", "_segments_at", "marks", "notices", "reader_sequence", "segments")

    def __init__(self) -> None:
        self.notices = KnownNotices(bounds.INBOX_OWN_MAX)
        self.marks: Marks = marks_of(Reader())
        self.reader_sequence = 0
        """In READERS; 0: nothing is stored of the actor."""
        self.segments: frozenset[str] = frozenset()
        self._segments_at = _NOTHING
        self._readers_stream = ""

    def load(self, stored: StoredInbox, applied: Mapping[str, StreamPosition]) -> bool:
        """`applied`: how far each stream was, before the inbox was read. True if something is news."""
        readers = applied.get(READERS_STREAM, _NOTHING)
        if readers.stream:
            if self._readers_stream not in ("", readers.stream):
                self.reader_sequence = 0
            self._readers_stream = readers.stream
        is_lost = stored.reader_sequence < self.reader_sequence
        changed = self._take_reader(stored.reader, stored.reader_sequence)
        if not is_lost:
            changed |= self._take_segments(stored.segments, applied.get(SEGMENTS_STREAM, _NOTHING))
        return self.notices.load(stored.own, applied.get(NOTICES_STREAM, _NOTHING)) or changed

    def take(self, change: InboxChange) -> bool:
        """What was pushed, but for the segments, which are to be loaded. True if something is news."""
        changed = self._take_reader(change.reader, change.reader_sequence)
        for sequence, stored in zip(change.sequences, change.notices, strict=False):
            changed |= self.notices.put(sequence, stored)
        return changed

    def _take_reader(self, reader: Reader, sequence: int) -> bool:
        if sequence <= self.reader_sequence:
            return False
        self.marks, self.reader_sequence = marks_of(reader), sequence
        return True

    def _take_segments(self, segments: frozenset[str], at: StreamPosition) -> bool:
        known = self._segments_at
        is_behind = at.stream == known.stream and at.sequence < known.sequence
        if is_behind or (known.stream and not at.stream):
            return False
        changed, self.segments, self._segments_at = segments != self.segments, segments, at
        return changed
