"""What became of one event in its partition. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mesh.recount.blocks import EventRow


class EventVerdict(Enum):
    """Of all events that are stored; the value is how programs read it."""

    COUNTED = "counted"
    RESENT = "resent"
    """The same origin and number was folded before."""
    BEHIND_WINDOW = "behind_window"
    """Its number is below what the origin's anti-replay window remembers, so it is taken as a resend."""
    SECOND = "second"
    """The actor's second vote in a poll whose votes are final."""
    OLDER = "older"
    """A newer event of the same origin has set the actor's vote or score."""
    NOT_BETTER = "not_better"
    """The board keeps the best score, and the actor's is as good."""
    BAD_CHOICE = "bad_choice"
    """A vote for no option, for one that the poll has not, or for too many."""
    SEALED = "sealed"
    """The topic was sealed before it was stored."""
    OLD_GENERATION = "old_generation"
    """Of a game that had the id before."""
    UNDEFINED = "undefined"
    """The partition does not know the topic: a dead letter. Counts if it is sent again once it does."""
    ORIGIN_LEFT = "origin_left"
    """Its origin's anti-replay window had left to make room: a dead letter."""
    FOLD_FAILED = "fold_failed"
    """A custom fold failed on it: a dead letter. Counts if it is sent again once that is mended."""
    UNDECODABLE = "undecodable"
    """Its block could not be folded: a dead letter."""


DEAD_LETTERS = frozenset(
    (EventVerdict.UNDEFINED, EventVerdict.ORIGIN_LEFT, EventVerdict.FOLD_FAILED, EventVerdict.UNDECODABLE)
)


@dataclass(slots=True)
class EventOutcome:
    """Of one stored event, and what came of it later."""

    row: EventRow
    sequence: int
    """Of its block in the stream."""
    stamp_us: int
    """When its block's first event was received."""
    stored_at_us: int
    partition_time_us: int
    """The partition's watermark once its block was folded."""
    verdict: EventVerdict
    other: int = 0
    """The block of the event that it was a resend of, or second to; 0: not known, or none."""
    replaced: int = 0
    """The block of the actor's event that this one replaced; 0: none that is known."""
    late: bool = False
    """A reaction too late for its pane: in the totals alone."""
    season: int = 0
    """Of a board with seasons."""
    undone: list[Undone] = field(default_factory=list)
    """In the order of the stream."""

    @property
    def counts(self) -> bool:
        """It counts now."""
        return self.verdict is EventVerdict.COUNTED and not self.undone


@dataclass(frozen=True, slots=True)
class Undone:
    """Why what was counted counts no more."""

    how: str
    """"replaced", "voided", "removed", "surpassed" (a better score), "forgotten" (the game is gone)."""
    sequence: int
    """The block that did it."""
    stored_at_us: int
