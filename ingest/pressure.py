"""How loaded this ingest is, and what follows: whose events are shed, and how much credit is given. Pure.

The level is the worst of these shares, 0.0 at ease and 1.0 at the bound:

    unsettled events, bytes     of UNSETTLED_EVENTS_MAX, UNSETTLED_BYTES_MAX
    the event log's latency     its smoothed acks, or the age of the oldest block that waits for
                                one, of ACK_LATENCY_FULL_S
    aggregation's backlog       the lag of the worst partition, of BACKLOG_FULL_S
    a full event log            1.0

From SHEDS_MEASURES_FROM on measures are shed, from SHEDS_REACTIONS_FROM on reactions and presence too;
votes, scores and custom events never (I7). Credit is whole below CREDIT_SHRINKS_FROM, an eighth near 1.0
and beyond, and 0 while the log is away or full or the view of the catalog stale. An absence alone sheds
nothing until what waits is old.

It does not flap: the level held follows the measured one up at once, and down only when that has
fallen by more than SLACK below it, and then stays SLACK above it (the play operator, the
backlash of a gear). So noise of less than SLACK moves nothing, and credit has eight steps.

Rejected: a threshold to switch on and a lower one to switch off, for each decision: the same with
more numbers, and nothing for credit. A filter over time: it sheds late, when memory is short.
"""

from __future__ import annotations

from ingest import bounds
from mesh import limits

SHEDS_MEASURES_FROM = 0.5
SHEDS_REACTIONS_FROM = 0.75
CREDIT_SHRINKS_FROM = 0.5
SLACK = 0.1

_CREDIT_STEPS = 8
# The smoothing of latencies: an ack moves it by an eighth (as RTT estimates, RFC 6298); without acks
# it halves in this time, so that an ingest at rest forgets.
_ACK_GAIN = 1 / 8
_ACK_HALF_LIFE_S = 1.0

assert 0 < SLACK < SHEDS_MEASURES_FROM <= SHEDS_REACTIONS_FROM < 1
assert SLACK < CREDIT_SHRINKS_FROM, "an ingest at ease gives its whole credit"


class Pressure:
    """What presses on one ingest. The shell sets the plain attributes, calls `level` once in a while
    (each coalescing interval or 50 ms), and reads the decisions, which stand until the next call.

    `now_s` is any clock in seconds, the same in all calls.
    """

    def __init__(
        self,
        events_max: int = bounds.UNSETTLED_EVENTS_MAX,
        bytes_max: int = limits.UNSETTLED_BYTES_MAX,
    ) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max

        self.unsettled_events = 0
        self.unsettled_bytes = 0
        self.oldest_unacked_at_s: float | None = None
        """When the oldest block without an ack was sent off; None without one."""
        self.backlog_s = 0.0
        self.log_away = False
        self.log_trouble = ""
        """Why the log, or the catalog in it, does not answer, if that is known, such as "disk full"."""
        self.log_full = False
        self.view_stale = False
        """Votes and scores are held until the catalog answers."""

        self.sheds_measures = False
        self.sheds_reactions = False
        """Reactions and presence."""
        self.reason = ""
        """What presses most, for a person; "" while credit is whole."""

        self._latency_s = 0.0
        self._heard_at_s: float | None = None
        self._level = 0.0

    def acked(self, latency_s: float, now_s: float) -> None:
        """A block's ack came, so long after it was sent off. One alone moves the level by an eighth."""
        self._decay(now_s)
        bounded_s = min(max(0.0, latency_s), bounds.ACK_LATENCY_FULL_S)
        self._latency_s += _ACK_GAIN * (bounded_s - self._latency_s)
        self._heard_at_s = now_s

    @property
    def latency_s(self) -> float:
        """The smoothed latency of acks, as of the last call."""
        return self._latency_s

    @property
    def held(self) -> float:
        """The level held, as of the last call of `level`."""
        return self._level

    def level(self, now_s: float) -> float:
        """Measures again and decides; the level held, 0.0 to 1.0 and above."""
        self._decay(now_s)
        parts = self._parts(now_s)
        measured = max(parts)
        self._level = held = max(measured, min(self._level, measured + SLACK))
        self.sheds_measures = held >= SHEDS_MEASURES_FROM
        self.sheds_reactions = held >= SHEDS_REACTIONS_FROM
        self.reason = self._reason(parts.index(measured), now_s) if self._shrinks else ""
        return held

    def credit(self, credit_max: int) -> int:
        """How many sequence numbers an origin may have unacked, of at most `credit_max`."""
        if self.log_away or self.log_full or self.view_stale:
            return 0
        if self._level < CREDIT_SHRINKS_FROM:
            return credit_max
        steps = 1 + int((self._level - CREDIT_SHRINKS_FROM) * 2 * (_CREDIT_STEPS - 1))
        left = _CREDIT_STEPS - min(_CREDIT_STEPS - 1, steps)
        return max(1, credit_max * left // _CREDIT_STEPS)

    @property
    def _shrinks(self) -> bool:
        return self.log_away or self.log_full or self.view_stale or self._level >= CREDIT_SHRINKS_FROM

    def _parts(self, now_s: float) -> tuple[float, ...]:
        waiting_s = 0.0 if self.oldest_unacked_at_s is None else max(0.0, now_s - self.oldest_unacked_at_s)
        return (
            self.unsettled_events / self._events_max,
            self.unsettled_bytes / self._bytes_max,
            max(self._latency_s, waiting_s) / bounds.ACK_LATENCY_FULL_S,
            self.backlog_s / limits.BACKLOG_FULL_S,
            1.0 if self.log_full else 0.0,
        )

    def _reason(self, worst: int, now_s: float) -> str:
        if self.log_full:
            return "the event log is full"
        trouble = f": {self.log_trouble}" if self.log_trouble else ""
        if self.log_away:
            return f"the event log does not answer{trouble}"
        if self.view_stale:
            return (
                f"the catalog has not answered for {limits.VIEW_FRESH_S:g} s{trouble};"
                " votes and scores wait for it"
            )
        if worst == 0:
            return f"{self.unsettled_events} of at most {self._events_max} events wait to be stored"
        if worst == 1:
            return f"{self.unsettled_bytes} of at most {self._bytes_max} bytes wait to be stored"
        if worst == 2:
            waiting_s = 0.0 if self.oldest_unacked_at_s is None else now_s - self.oldest_unacked_at_s
            return f"the event log takes {max(self._latency_s, waiting_s):.2f} s to store a block"
        return f"aggregation is {self.backlog_s:.1f} s behind"

    def _decay(self, now_s: float) -> None:
        if self._heard_at_s is None or now_s <= self._heard_at_s:
            self._heard_at_s = now_s
            return
        self._latency_s *= 0.5 ** ((now_s - self._heard_at_s) / _ACK_HALF_LIFE_S)
        self._heard_at_s = now_s
