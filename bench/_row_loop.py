"""The baseline of the fold benchmark: the same fold, one decoded protobuf event at a time.

A dict of windows by origin and a dict of votes by actor: what one writes first, and what
Grandstand did write first. It counts what the real fold counts, so the two can be compared.
"""

from __future__ import annotations

from grandstand.event.v1.event_pb2 import Event
from grandstand.ingest.v1.ingest_pb2 import EventBatch

_WIDTH = 64
_MASK = (1 << _WIDTH) - 1


class RowTally:
    """One final poll."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, int]] = {}
        self._cast: dict[str, str] = {}
        self.votes: dict[str, int] = {}

    @property
    def voters(self) -> int:
        return len(self._cast)

    def fold(self, batch: bytes) -> None:
        for event in EventBatch.FromString(batch).events:
            if self._admit(event):
                actor_id = event.actor_id
                if actor_id not in self._cast:
                    option_id = self._cast[actor_id] = event.vote.option_ids[0]
                    self.votes[option_id] = self.votes.get(option_id, 0) + 1

    def _admit(self, event: Event) -> bool:
        """RFC 6479's window in one whole number."""
        sequence = event.origin_seq
        origin_id = event.origin_id
        highest, seen = self._windows.get(origin_id, (0, 0))
        if sequence > highest:
            shift = sequence - highest
            seen = 1 if shift >= _WIDTH else ((seen << shift) | 1) & _MASK
            self._windows[origin_id] = (sequence, seen)
            return True
        behind = highest - sequence
        if behind >= _WIDTH or seen >> behind & 1:
            return False
        self._windows[origin_id] = (highest, seen | 1 << behind)
        return True
