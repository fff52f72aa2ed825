"""JetStream as ingest and the workers see it: one stream of many partitions, and its markers of purges.

A message is stored once for each message id within the stream's dedupe window; a copy of it
is acked with the sequence of the first. Messages may be lost, stored late and in any order; acks
may be lost. A full stream takes nothing. The stream may lose its newest messages (a power cut) and
grow again over the same sequences, or be recreated, of which the servers' clocks tell the time well enough.
"""

from __future__ import annotations

import datetime
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mesh import limits
from mesh.jetstream import bus, subjects
from tests.simulation.blocks import Row, rows_in
from tests.simulation.cuts import Cuts
from tests.simulation.nats import ModelNats
from tests.simulation.world import World

FOREIGN = b"not a block"
_ROOM_FOR_MESSAGE = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """One message; `rows` are the events in it."""

    sequence: int
    subject: str
    partition: int
    data: bytes
    rows: Sequence[Row]
    stored_at_s: float
    message_id: str

    @property
    def is_block(self) -> bool:
        return self.subject == subjects.events(self.partition)

    @property
    def stored_at_us(self) -> int:
        return int(self.stored_at_s * 1e6)

    @property
    def is_foreign(self) -> bool:
        """Neither ingest nor the catalog wrote it."""
        return self.data.startswith(FOREIGN)

    @property
    def size(self) -> int:
        return _ROOM_FOR_MESSAGE + len(self.data)


class ModelStream:
    def __init__(self, world: World, nats: ModelNats, cuts: Cuts, bytes_max: int = 1 << 40) -> None:
        self._world = world
        self._nats = nats
        self._cuts = cuts
        self.bytes_max = bytes_max
        self.bytes = 0
        self.lives = 0
        self.on_stored: Callable[[Stored], None] = lambda stored: None
        self.on_lost: Callable[[], None] = lambda: None
        """Told when messages are no more, though nobody purged them."""
        self.refused = 0
        """Publishes that a full stream did not take."""
        self._begin()

    def _begin(self) -> None:
        self.lives += 1
        made_at = datetime.datetime.fromtimestamp(self._world.now_s, datetime.UTC)
        self.first = bus.first_sequence(made_at)
        self.last = self.first - 1
        self.bytes = 0
        self._messages: dict[int, Stored] = {}
        self._by_subject: dict[str, list[Stored]] = {}
        self._known: dict[str, tuple[float, int]] = {}

    @property
    def identity(self) -> str:
        return f"life-{self.lives}"

    # What its clients do.

    def publish(
        self,
        sender: str,
        partition: int,
        data: bytes,
        message_id: str,
        on_ack: Callable[[int], None],
    ) -> None:
        """One attempt: it may be lost on either way, and be late. `sender`: the process."""
        if self._world.odds(0.05):
            return

        def arrive() -> None:
            sequence = self.store(partition, data, message_id)
            if sequence and not self._world.odds(0.05):
                late = 0.8 if self._world.odds(0.05) else 0.004
                self._cuts.through(sender, "events", lambda: on_ack(sequence), late)

        self._cuts.through(sender, "events", arrive, 0.8 if self._world.odds(0.05) else 0.004)

    def store(self, partition: int, data: bytes, message_id: str, subject: str = "") -> int:
        """The message's sequence; 0 if the stream is full."""
        known = self._known.get(message_id)
        if known is not None and self._world.now_s - known[0] < limits.DEDUPE_WINDOW_S:
            return known[1]
        if self.bytes + _ROOM_FOR_MESSAGE + len(data) > self.bytes_max:
            self.refused += 1
            return 0
        stored = Stored(
            self.last + 1,
            subject or subjects.events(partition),
            partition,
            data,
            () if subject else rows_in(data),
            self._nats.events_clock.now_s,
            message_id,
        )
        self.last = stored.sequence
        self.bytes += stored.size
        self._messages[stored.sequence] = stored
        self._by_subject.setdefault(stored.subject, []).append(stored)
        self._known[message_id] = (self._world.now_s, stored.sequence)
        self.on_stored(stored)
        return stored.sequence

    def of(self, partition: int) -> Sequence[Stored]:
        """Its blocks that are there, in their order."""
        return self._of(subjects.events(partition))

    def after(self, partition: int, sequence: int) -> Sequence[Stored]:
        """Its blocks after that sequence."""
        blocks = self.of(partition)
        if not blocks or blocks[-1].sequence <= sequence:
            return ()
        return blocks[bisect_left(blocks, sequence + 1, key=attrgetter("sequence")) :]

    def get(self, sequence: int) -> Stored | None:
        return self._messages.get(sequence)

    def next_of(self, subject: str, sequence: int) -> Stored | None:
        """The subject's first message from that sequence on."""
        return next((message for message in self._of(subject) if message.sequence >= sequence), None)

    def last_of(self, subject: str) -> Stored | None:
        """The newest message of the subject."""
        there = self._of(subject)
        return there[-1] if there else None

    def purge(self, subject: str, *, below: int = 0, keep: int = 0) -> int:
        """Purges messages of the subject: those below that sequence, or all but this many; how many went."""
        there = self._of(subject)
        gone = [m for m in there if m.sequence < below] if below else there[: -keep or None]
        self._remove(gone)
        return len(gone)

    # What happens to it.

    def lose_tail(self, after: int) -> None:
        """A power cut took the newest messages; what comes next has their sequences."""
        lost = [m for s, m in self._messages.items() if s > after]
        self._remove(lost)
        for message in lost:
            self._known.pop(message.message_id, None)
        self.last = after
        self._world.losses += 1
        self.on_lost()

    def recreate(self) -> None:
        """The stream was deleted, and one of its name made."""
        self._begin()
        self._world.losses += 1
        self.on_lost()

    def _remove(self, gone: Sequence[Stored]) -> None:
        for message in gone:
            del self._messages[message.sequence]
            self.bytes -= message.size
        for subject in {message.subject for message in gone}:
            self._by_subject[subject] = [m for m in self._of(subject) if m.sequence in self._messages]

    def _of(self, subject: str) -> Sequence[Stored]:
        return self._by_subject.get(subject, ())
