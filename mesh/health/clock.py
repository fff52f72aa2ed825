"""Whose clock is off: this process's, or that of the NATS server that stamps what is stored. Pure.

A process measures how far its wall clock is ahead of the mesh's (mesh.catalog.mesh_clock), and hears the same
from the others in their health reports. All measure against the same server. So:

    its offset is within CLOCK_OFFSET_MAX_S            its clock is well
    most processes, this one too, have the same offset the server's clock is wrong: they go on by their own
                                                       time, and the first of them by name asks the server to
                                                       hand its streams to another
    else                                               this process's clock is off: it is not ready

"Most" is more than half of the processes that are heard, and two at least: one alone cannot tell, and then
the server is believed. Processes of one machine share its clock and can be a majority that is wrong together;
they stay ready all the same, for what has to happen at one time everywhere goes by the mesh's clock.

An offset is known between two bounds, as far apart as the trip it was measured by. Only an offset that is
beyond CLOCK_OFFSET_MAX_S by both bounds accuses anybody: a slow trip never does.

CLOCK_OFFSET_MAX_S is more than clocks that are kept (NTP) ever differ, and less than a token's leeway, so
that a clock is reported before good tokens are refused by it.

Bounds: PROCESSES_MAX processes are heard; on overflow the one that was silent for longest is forgotten. A
process that is silent for SILENT_S has no voice.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from mesh import limits

SILENT_S = 3.5
PROCESSES_MAX = 4_096
AGREEING_MIN = 2
STEPDOWN_AFTER_S = 3.0
STEPDOWN_EVERY_S = 30.0

_MAX_S = limits.CLOCK_OFFSET_MAX_S


class Offset(NamedTuple):
    """How far a wall clock is ahead of the mesh's, in seconds: between these two."""

    least_s: float
    most_s: float

    @property
    def best_s(self) -> float:
        return (self.least_s + self.most_s) / 2

    @property
    def is_off(self) -> bool:
        """By more than the bound, whatever the trip took."""
        return self.least_s > _MAX_S or self.most_s < -_MAX_S


class ClockVerdict(NamedTuple):
    own_off_s: float = 0.0
    """How far this process's clock is off; 0 while it is ready."""
    leader_off_s: float = 0.0
    """How far the mesh's clock is off by what most processes say; 0 while it is believed."""

    @property
    def problem(self) -> str:
        """Why this process is not ready; empty while it is."""
        if not self.own_off_s:
            return ""
        return (
            f"this server's clock is {shown(self.own_off_s)} JetStream's; at most "
            f"{_MAX_S:g} s is allowed; set it (NTP)"
        )

    @property
    def leader_problem(self) -> str:
        if not self.leader_off_s:
            return ""
        return f"JetStream's clock is {shown(self.leader_off_s)} that of most of our processes; set it (NTP)"


def shown(off_s: float) -> str:
    return f"{abs(off_s):.1f} s {'ahead of' if off_s > 0 else 'behind'}"


def judge(own: Offset | None, others: Sequence[float]) -> ClockVerdict:
    """`own`: None while it is not known. `others`: the offsets of the other processes, in seconds."""
    if own is None or not own.is_off:
        return ClockVerdict()
    agreeing = [own.best_s, *(each for each in others if abs(each - own.best_s) <= _MAX_S)]
    if len(agreeing) >= AGREEING_MIN and 2 * len(agreeing) > 1 + len(others):
        return ClockVerdict(leader_off_s=-statistics.median(agreeing))
    return ClockVerdict(own_off_s=own.best_s)


class ClockBoard:
    """What is heard of the clocks of others. `now_s`: of a clock that never jumps."""

    def __init__(self, name: str) -> None:
        """`name`: this process's, among all."""
        self._name = name
        self._heard: dict[str, tuple[float, float]] = {}
        """Offset and when it was heard, the one that was silent for longest first."""
        self._accused_s: float | None = None
        self._asked_s = float("-inf")

    def hear(self, name: str, offset_s: float, now_s: float) -> None:
        if name == self._name:
            return
        self._heard.pop(name, None)
        if len(self._heard) >= PROCESSES_MAX:
            del self._heard[next(iter(self._heard))]
        self._heard[name] = (offset_s, now_s)

    def judge(self, own: Offset | None, now_s: float) -> ClockVerdict:
        verdict = judge(own, list(self._voices(now_s).values()))
        if not verdict.leader_off_s:
            self._accused_s = None
        elif self._accused_s is None:
            self._accused_s = now_s
        return verdict

    def asks_leader_to_step_down(self, own: Offset | None, now_s: float) -> bool:
        """Whether this process is to ask now, after `judge`: one asks for all, and not again for a while."""
        if (
            own is None
            or self._accused_s is None
            or now_s - self._accused_s < STEPDOWN_AFTER_S
            or now_s - self._asked_s < STEPDOWN_EVERY_S
        ):
            return False
        voices = self._voices(now_s)
        if any(name < self._name and abs(voices[name] - own.best_s) <= _MAX_S for name in voices):
            return False
        self._asked_s = now_s
        return True

    def _voices(self, now_s: float) -> dict[str, float]:
        return {name: offset_s for name, (offset_s, at_s) in self._heard.items() if now_s - at_s <= SILENT_S}
