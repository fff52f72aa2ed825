"""What a run sent, what was acked, and whether the results agree: the proof of I1 and I2. Pure.

Every vote of a run is by an actor of its own, so `voters` of the poll must equal the acked votes:
fewer were lost, more were made up. Every score adds to its actor's sum on the run's board, so there
a resend that was counted twice shows as points too many. What never got an answer may or may not be
stored; that much, and no more, the results may exceed what was acked.
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
    # Refused, but an earlier copy on a broken stream may be stored.
    maybe_stored: int = 0
    sent_units: int = 0
    acked_units: int = 0
    # Of events refused and certainly not stored.
    refused_units: int = 0

    def on_sent(self, units: int = 1) -> None:
        self.sent += 1
        self.sent_units += units

    def on_acked(self, units: int = 1) -> None:
        self.acked += 1
        self.acked_units += units

    def on_refused(self, code: str, *, maybe_stored: bool, units: int = 1) -> None:
        self.refused[code] += 1
        if maybe_stored:
            self.maybe_stored += 1
        else:
            self.refused_units += units

    @property
    def unsettled(self) -> int:
        """Sent, with neither an ack nor a refusal."""
        return self.sent - self.acked - self.refused.total()

    @property
    def uncertain_units(self) -> int:
        """What a result may hold beyond the acked units without being wrong."""
        return self.sent_units - self.acked_units - self.refused_units

    def lost(self, counted_units: int) -> int:
        """Acked units that the result lacks."""
        return max(0, self.acked_units - counted_units)

    def doubled(self, counted_units: int) -> int:
        """Units in the result that nobody sent once: counted twice, or made up."""
        return max(0, counted_units - self.acked_units - self.uncertain_units)
