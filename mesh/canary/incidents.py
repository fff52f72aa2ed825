"""When votes or frames stop: an incident is opened, detected, recovered and closed. Pure.

    well ──nothing for STALLED_S──▶ detected ──both flow──▶ recovered ──for QUIET_S──▶ closed
                                       ▲───────stalled again───────┘

A stall begins when the first vote was sent that was not acked (not shown), and ends with the next ack
(frame); an incident begins with its first stall. What stops acks stops frames too, as nothing new is shown:
then the kind is `acks`, and `frames` where votes are acked all the while.

A canary that did not run cannot tell what happened meanwhile: an incident that was open then ends as
unobserved, without a time of recovery. All times come from a clock that never jumps; `wall_s` is only told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

STALLED_S = 2.0
"""A second between votes, and as long as a worker's takeover or a slow disk may well take."""
QUIET_S = 5.0
INCIDENTS_MAX = 1_000
"""How many are kept; older ones are forgotten."""
REASON_CHARACTERS_MAX = 300


class IncidentKind(StrEnum):
    ACKS = "acks"
    FRAMES = "frames"


class IncidentEnd(StrEnum):
    OPEN = "open"
    RECOVERED = "recovered"
    UNOBSERVED = "unobserved"


@dataclass(frozen=True, slots=True)
class Incident:
    incident_id: str
    """Sorts by when it began."""
    started_at_s: float
    """Unix seconds."""
    kind: IncidentKind
    reason: str
    """What the canary met when it was detected, for a person."""
    detected_after_s: float
    without_acks_s: float
    without_frames_s: float
    end: IncidentEnd = IncidentEnd.OPEN
    recovered_after_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def unobserved(self) -> Incident:
        return replace(self, end=IncidentEnd.UNOBSERVED)


def from_json(found: dict[str, Any]) -> Incident:
    """Raises KeyError, TypeError or ValueError for what `as_json` did not make."""
    known = {name: found[name] for name in Incident.__dataclass_fields__}
    return Incident(
        **{**known, "kind": IncidentKind(known["kind"]), "end": IncidentEnd(known["end"])},
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """Of acks, or of frames."""

    waits_since_s: float | None
    """When the oldest vote was sent that came after the newest success; None: nothing is waited for."""
    last_s: float
    """The newest success."""


class _Stalls:
    """Of one flow in one incident."""

    def __init__(self) -> None:
        self.since_s: float | None = None
        """Of the one that lasts."""
        self.total_s = 0.0
        """Of those that are over."""
        self.ended_s = 0.0

    def step(self, flow: Flow, now_s: float) -> None:
        if self.since_s is not None and flow.last_s > self.since_s:
            self.ended_s = flow.last_s
            self.total_s += flow.last_s - self.since_s
            self.since_s = None
        if self.since_s is None and flow.waits_since_s is not None:
            # A success among many that wait interrupts the stall.
            since_s = max(flow.waits_since_s, flow.last_s)
            if now_s - since_s >= STALLED_S:
                self.since_s = since_s

    def seconds(self, now_s: float) -> float:
        return self.total_s + (0.0 if self.since_s is None else now_s - self.since_s)


class IncidentWatch:
    """`step` is called often; a time between two calls that is too long is the caller's to tell, by
    `interrupted`."""

    def __init__(self) -> None:
        self.detected: dict[str, int] = dict.fromkeys(IncidentKind, 0)
        self._reset()

    def _reset(self) -> None:
        self._acks, self._frames = _Stalls(), _Stalls()
        self._open: Incident | None = None
        self._began_s = self._stepped_s = self._recovered_s = 0.0

    @property
    def open(self) -> Incident | None:
        return self._open

    @property
    def stalled(self) -> bool:
        """One is open, and the stall lasts."""
        return self._open is not None and not self._recovered_s

    def step(self, acks: Flow, frames: Flow, now_s: float, wall_s: float, reason: str) -> Incident | None:
        """The incident, if there is news that is worth keeping: detected, of another kind, or closed."""
        self._acks.step(acks, now_s)
        self._frames.step(frames, now_s)
        self._stepped_s = now_s
        stalled = [stall.since_s for stall in (self._acks, self._frames) if stall.since_s is not None]
        if self._open is None:
            return self._detect(min(stalled), now_s, wall_s, reason) if stalled else None
        before, self._open = self._open, self._at(now_s)
        if stalled:
            self._recovered_s = 0.0
            if self._acks.since_s is not None and before.kind is IncidentKind.FRAMES:
                self._open = replace(self._open, kind=IncidentKind.ACKS, reason=_short(reason))
                return self._open
            return None
        if not self._recovered_s:
            self._recovered_s = max(self._acks.ended_s, self._frames.ended_s)
        if now_s - self._recovered_s < QUIET_S:
            return None
        closed = replace(
            self._open,
            end=IncidentEnd.RECOVERED,
            recovered_after_s=_rounded(self._recovered_s - self._began_s),
        )
        self._reset()
        return closed

    def _detect(self, began_s: float, now_s: float, wall_s: float, reason: str) -> Incident:
        started_at_s = wall_s - (now_s - began_s)
        kind = IncidentKind.FRAMES if self._acks.since_s is None else IncidentKind.ACKS
        self.detected[kind] += 1
        self._began_s = began_s
        self._open = Incident(
            incident_id=f"{int(started_at_s * 1000):013d}",
            started_at_s=_rounded(started_at_s),
            kind=kind,
            reason=_short(reason),
            detected_after_s=_rounded(now_s - began_s),
            without_acks_s=_rounded(self._acks.seconds(now_s)),
            without_frames_s=_rounded(self._frames.seconds(now_s)),
        )
        return self._open

    def _at(self, now_s: float) -> Incident:
        assert self._open is not None
        return replace(
            self._open,
            without_acks_s=_rounded(self._acks.seconds(now_s)),
            without_frames_s=_rounded(self._frames.seconds(now_s)),
        )

    def explain(self, why: str) -> Incident | None:
        """Somebody knows more of the reason; the incident, if one is open."""
        if self._open is not None:
            self._open = replace(self._open, reason=_short(f"{self._open.reason}; {why}"))
        return self._open

    def interrupted(self) -> Incident | None:
        """The canary did not run, or could not measure, since the last step. What it had open, as it was
        then."""
        ended = self._at(self._stepped_s).unobserved() if self._open is not None else None
        self._reset()
        return ended


@dataclass(frozen=True, slots=True)
class MeanTimes:
    """Over the incidents that were seen to their end. None without any."""

    incidents: int
    detect_s: float | None
    recover_s: float | None


def mean_times(incidents: Iterable[Incident]) -> MeanTimes:
    ended = [each for each in incidents if each.recovered_after_s is not None]
    if not ended:
        return MeanTimes(0, None, None)
    return MeanTimes(
        len(ended),
        _rounded(sum(each.detected_after_s for each in ended) / len(ended)),
        _rounded(sum(each.recovered_after_s or 0.0 for each in ended) / len(ended)),
    )


def _short(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS_MAX else reason[: REASON_CHARACTERS_MAX - 1] + "…"


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
