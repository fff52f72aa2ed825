"""What the clients sent and what they were told of it: one entry for each event. Pure.

An entry says what its event must add to a topic, so that the results of a whole run can be
reckoned from the entries alone. Its fate:

    SENT ──acked──▶ ACKED      stored: counts exactly once (I1, I2)
      │              └──taken back by the game's owner──▶ VOIDED: counts no more
      ├──refused or shed──▶ REFUSED    never stored: counts never
      └──refused, shed or given up, and a copy may be stored──▶ UNCERTAIN: counts once or never

Bound: an entry is kept until the end of the run; a minute at 300 events a second is 18,000 of them.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


class EventStatus(enum.Enum):
    """What its client knows of an event."""

    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    VOIDED = "voided"


@dataclass(slots=True)
class Entry:
    """One event. `order` rises by what one actor does in one topic."""

    game_id: str
    topic: str
    actor_id: str
    order: int
    options: tuple[str, ...] = ()
    """Of a vote: what it names."""
    label: str = ""
    """Of a reaction: its kind."""
    amount: float = 0
    """Of a score its points, of a reaction its count, of a measure its value, of a vote its weight."""
    origin: str = ""
    """Which of the actor's devices sent it; `order` rises within one."""
    fate: EventStatus = EventStatus.SENT
    sent_at: int = 0
    acked_at: int = 0
    """In turns of the book: what was sent after something was acked is stored after it."""


@dataclass(slots=True)
class Book:
    """All entries of a run, and what was acked where."""

    entries: list[Entry] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    """By the code of the refusal and the topic."""
    positions: dict[int, int] = field(default_factory=dict)
    """The newest acked sequence of each partition."""
    shed: Counter[str] = field(default_factory=Counter)
    """By the topic."""
    outstanding: int = 0
    acked: int = 0
    _turn: int = 0

    def sent(self, entry: Entry) -> None:
        entry.sent_at = self._next_turn()
        self.entries.append(entry)
        self.outstanding += 1

    def ack(self, entry: Entry, positions: Iterator[tuple[int, int]]) -> None:
        """`positions`: where it is stored, as (partition, sequence)."""
        self._settle(entry, EventStatus.ACKED)
        entry.acked_at = self._next_turn()
        self.acked += 1
        for partition, sequence in positions:
            if self.positions.get(partition, 0) < sequence:
                self.positions[partition] = sequence

    def refuse(self, entry: Entry, code: str, *, maybe_stored: bool) -> None:
        self._settle(entry, EventStatus.UNCERTAIN if maybe_stored else EventStatus.REFUSED)
        self.refusals[f"{code} {entry.topic}"] += 1

    def shed_it(self, entry: Entry, *, maybe_stored: bool) -> None:
        """The mesh was under pressure."""
        self._settle(entry, EventStatus.UNCERTAIN if maybe_stored else EventStatus.REFUSED)
        self.shed[entry.topic] += 1

    def void(self, entry: Entry) -> None:
        """Its vote was voided, or its score removed, after it was acked."""
        assert entry.fate is EventStatus.ACKED, f"taken back before it was acked: {entry}"
        entry.fate = EventStatus.VOIDED

    def give_up(self, entry: Entry) -> None:
        """Its client ended without an answer."""
        self._settle(entry, EventStatus.UNCERTAIN)

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _settle(self, entry: Entry, fate: EventStatus) -> None:
        assert entry.fate is EventStatus.SENT, f"told twice: {entry}"
        entry.fate = fate
        self.outstanding -= 1
