"""What a run sent, what was acked, and whether the results agree: the proof of I1 and I2. Pure.

Each event is acked, or its sender is told why it is not: refused, shed, or given up with its session. One
that is refused or shed for certain is not stored; where a copy may be, and where a session was given up, it
counts once or not at all.

Every vote of a run is by an actor of its own, so `voters` of the poll must equal the acked votes:
fewer were lost, more were made up. Every score adds to its actor's sum on the run's board, so there
a resend that was counted twice shows as points too many. What may or may not be stored: that much, and no
more, the results may exceed what was acked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """One kind of event: in numbers of events, and in the unit that its result counts."""

    sent: int = 0
    acked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shed: int = 0
    # Given up with their session, or with the run.
    lost_sight_of: int = 0
    # Refused or shed, but an earlier copy may be stored.
    maybe_stored: int = 0
    sent_units: int = 0
    acked_units: int = 0
    # Of events that are certainly not stored.
    not_stored_units: int = 0

    def on_sent(self, units: int = 1) -> None:
        self.sent += 1
        self.sent_units += units

    def on_acked(self, units: int = 1) -> None:
        self.acked += 1
        self.acked_units += units

    def on_refused(self, code: str, *, maybe_stored: bool, units: int = 1) -> None:
        self.refused[code] += 1
        self._not_acked(maybe_stored, units)

    def on_shed(self, *, maybe_stored: bool, units: int = 1) -> None:
        self.shed += 1
        self._not_acked(maybe_stored, units)

    def on_lost_sight(self) -> None:
        """Its session ended before it was settled: it may or may not be stored."""
        self.lost_sight_of += 1

    def _not_acked(self, maybe_stored: bool, units: int) -> None:
        if maybe_stored:
            self.maybe_stored += 1
        else:
            self.not_stored_units += units

    @property
    def unacked(self) -> int:
        return self.sent - self.acked

    @property
    def reported(self) -> int:
        """How many of the unacked their sender was told of."""
        return self.refused.total() + self.shed + self.lost_sight_of

    @property
    def unsettled(self) -> int:
        """Sent, and nothing was heard of it."""
        return self.unacked - self.reported

    @property
    def uncertain_units(self) -> int:
        """What a result may hold beyond the acked units without being wrong."""
        return self.sent_units - self.acked_units - self.not_stored_units

    def counted_all_the_same(self, counted_units: int) -> int:
        """Units of events that were not acked, and count."""
        return min(max(0, counted_units - self.acked_units), self.uncertain_units)

    def lost(self, counted_units: int) -> int:
        """Acked units that the result lacks."""
        return max(0, self.acked_units - counted_units)

    def doubled(self, counted_units: int) -> int:
        """Units in the result that nobody sent once: counted twice, or made up."""
        return max(0, counted_units - self.acked_units - self.uncertain_units)
