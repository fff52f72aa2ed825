"""Notices as a gateway knows them: an actor's own, or those to a crowd. Pure.

What is stored and what is pushed is put together, in whatever order it comes. A notice is added, or found to
be taken back, and nothing else: a Redis that lost keys takes nothing off a screen (I5). What has expired is
hidden when it is shown (mesh.notices.inbox).

Bound: `notices_max`; the oldest goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from grandstand.internal.v1.internal_pb2 import StoredNotice
from mesh.notices.crowds import is_of
from mesh.notices.inbox import InboxEntry, entry_of
from mesh.notices.stored import StreamPosition


class KnownNotices:
    __slots__ = ("_generation", "_max", "_stream", "by_sequence", "changes", "floor", "is_loaded", "newest")

    def __init__(self, notices_max: int) -> None:
        self._max = notices_max
        self._stream = ""
        self._generation = 0
        self.by_sequence: dict[int, InboxEntry] = {}
        self.is_loaded = False
        self.floor = 0
        """Of all that the stream holds up to this sequence, the newest `notices_max` are known."""
        self.newest = 0
        """The greatest sequence that was ever known."""
        self.changes = 0
        """How often something changed."""

    def begin(self, generation: int) -> bool:
        """The game whose viewers they are told has this generation: what an earlier one of its id told is
        forgotten. True if it was known."""
        if generation <= self._generation:
            return False
        self._generation = generation
        left = {at: each for at, each in self.by_sequence.items() if not 0 < each.generation < generation}
        is_news = len(left) < len(self.by_sequence)
        self.by_sequence = left
        self.changes += is_news
        return is_news

    def put(self, sequence: int, stored: StoredNotice) -> bool:
        """True if it is news."""
        known = self.by_sequence.get(sequence)
        if known is not None and (known.is_cancelled or not stored.cancelled):
            return False
        if not is_of(stored, self._generation):
            return False
        if known is None and len(self.by_sequence) >= self._max:
            oldest = min(self.by_sequence)
            if sequence < oldest:
                return False
            del self.by_sequence[oldest]
        self.by_sequence[sequence] = entry_of(sequence, stored)
        self.newest = max(self.newest, sequence)
        self.changes += 1
        return True

    def load(self, stored: Mapping[int, StoredNotice], applied: StreamPosition) -> bool:
        """Takes what is stored; `applied`: how far the stream was, before that was read. True if something
        is news. Another stream than before counts from 1 again: what was known is forgotten."""
        before = self.changes
        if applied.stream:
            if self._stream not in ("", applied.stream):
                self.by_sequence.clear()
                self.floor = self.newest = 0
                self.changes += 1
            self._stream = applied.stream
            self.floor = max(self.floor, applied.sequence)
        for sequence in sorted(stored, reverse=True):
            self.put(sequence, stored[sequence])
        is_first, self.is_loaded = not self.is_loaded, True
        return is_first or self.changes > before
