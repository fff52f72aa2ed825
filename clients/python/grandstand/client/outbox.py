"""What one origin has sent and not yet had settled: the window of a publishing session. Pure.

Intuition. Events are numbered 1, 2, 3, ... in the order in which they are first sent. The window is the
run of numbers that start at `frontier`, the lowest one that is not settled. An Ack moves the
frontier; a new stream starts over from it and sends the rest of the window again under the same
numbers, which is what lets the mesh count every event once (I2).

A refused number stays in the window until an Ack passes it, because the numbers on a stream
have no gaps. Its answer has been given to the caller and must stay true, whatever has changed on
the other side since: when it has to be sent again, `take` hands out None in place of the event, and the
session sends that number without a body, which is refused whatever the state of the game.

Invariants:
- frontier <= cursor <= next_seq: settled | sent on this stream | to be sent (again).
- `append` numbers no event beyond the credit (I7, the session buffers it), and `take` sends none beyond it:
  the numbers under way span at most the credit, which may shrink at any time, to 0 too.
- what `take` hands out on one stream is consecutive, from the frontier at `resume`.
- an event leaves the window once: by `ack`, by `refuse`, by `replace`, or by `abandon`.

No I/O, no clock. Rejected: a dict by number (the window is a run, so a deque and an offset do); a number from
the moment an event is handed in (one that is still unsent could then not give way to another).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Slot(Generic[T]):
    """One number of the window."""

    item: T
    bytes_count: int
    refused: bool = False
    # On how many streams the event was sent: above 1, an earlier copy may be stored.
    sent: int = 0


class Outbox(Generic[T]):
    """The window of unsettled events of one origin, bounded by its credit."""

    def __init__(self, credit: int) -> None:
        if credit < 0:
            raise ValueError(f"credit is {credit}; 0 or more is needed")
        self.credit = credit
        self._slots: deque[Slot[T]] = deque()
        self._frontier = 1
        self._sent_count = 0

    @property
    def frontier(self) -> int:
        """The lowest number that is not settled; a new stream's `next_origin_seq`."""
        return self._frontier

    @property
    def next_seq(self) -> int:
        """The number the next event gets."""
        return self._frontier + len(self._slots)

    @property
    def in_flight(self) -> int:
        """How many numbers were sent on this stream and are not settled."""
        return self._sent_count

    @property
    def unsent(self) -> int:
        """How many numbers are still to be sent on this stream."""
        return len(self._slots) - self._sent_count

    @property
    def room(self) -> int:
        """How many more events may be numbered."""
        return max(0, self.credit - len(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def append(self, item: T, bytes_count: int = 0) -> int:
        """Takes an event in and returns its number. Raises BufferError when the window is full."""
        if not self.room:
            raise BufferError(
                f"{len(self._slots)} events are unsettled, the credit is {self.credit}; wait for an ack"
            )
        self._slots.append(Slot(item, bytes_count))
        return self.next_seq - 1

    def take(self, events_max: int, bytes_max: int) -> list[tuple[int, T | None]]:
        """The next events to send on this stream, as (number, event); None for a number already refused.

        At most `events_max`, and `bytes_max` in all unless the first alone is larger. Nothing
        beyond the credit, which may have shrunk since `append`.
        """
        batch: list[tuple[int, T | None]] = []
        bytes_count = 0
        last = min(len(self._slots), self.credit, self._sent_count + events_max)
        while self._sent_count < last:
            slot = self._slots[self._sent_count]
            bytes_count += slot.bytes_count
            if batch and bytes_count > bytes_max:
                break
            slot.sent += 1
            batch.append((self._frontier + self._sent_count, None if slot.refused else slot.item))
            self._sent_count += 1
        return batch

    def ack(self, origin_seq: int) -> list[tuple[int, T, bool]]:
        """Settles every number up to `origin_seq`. Returns those that were not refused, in order: the number,
        the event, and whether it was sent on an earlier stream too.

        Raises ValueError for a number that was not sent on this stream.
        """
        if origin_seq >= self._frontier + self._sent_count:
            newest = self._frontier + self._sent_count - 1
            raise ValueError(f"ack of origin_seq {origin_seq}, but the newest number sent is {newest}")
        settled: list[tuple[int, T, bool]] = []
        while self._frontier <= origin_seq:
            slot = self._slots.popleft()
            if not slot.refused:
                settled.append((self._frontier, slot.item, slot.sent > 1))
            self._frontier += 1
            self._sent_count -= 1
        return settled

    def refuse(self, origin_seq: int) -> tuple[T, bool] | None:
        """The event was refused; returns it, and whether an earlier copy may be stored.

        None for a number that is settled or refused already. Raises ValueError as `ack` does.
        """
        if origin_seq >= self._frontier + self._sent_count:
            raise ValueError(f"reject of origin_seq {origin_seq}, which was not sent on this stream")
        if origin_seq < self._frontier:
            return None
        slot = self._slots[origin_seq - self._frontier]
        if slot.refused:
            return None
        slot.refused = True
        return slot.item, slot.sent > 1

    def resume(self) -> int:
        """Starts over on a new stream: all of the window is unsent. Returns `next_origin_seq`.

        Refused numbers at the start of the window need no Ack any more: they are dropped.
        """
        self._sent_count = 0
        while self._slots and self._slots[0].refused:
            self._slots.popleft()
            self._frontier += 1
        return self._frontier

    def replace(self) -> list[T]:
        """The origin is another one: what was never sent is numbered again, from 1. Returns the events that
        were sent and not refused, in order; a copy of each may be stored."""
        sent = [slot.item for slot in self._slots if slot.sent and not slot.refused]
        self._slots = deque(slot for slot in self._slots if not slot.sent)
        self._frontier = 1
        self._sent_count = 0
        return sent

    def abandon(self) -> Iterator[tuple[T, bool]]:
        """Empties the window; yields each unsettled event and whether it was ever sent."""
        self._sent_count = 0
        while self._slots:
            slot = self._slots.popleft()
            self._frontier += 1
            if not slot.refused:
                yield slot.item, slot.sent > 0
