"""The mesh's clock as one process knows it: that of the NATS server that leads the catalog's bucket. Pure.

Wall clocks of processes differ, jump and are set; what has to happen at one time everywhere (a poll
closes) goes by one clock instead. A sample is a message that this process sent and got back with the time at
which the server stored it: the server's clock was there between the sending and the receipt. So
`stored - sent` is never less than the offset between the two clocks, and exceeds it by at most the round
trip.

`now_s` reckons with that upper bound: it never lags behind the server's clock, and is ahead of it by at most
the sample's round trip. A sample from a slow trip (the process was stopped meanwhile) would put it ahead by
as much, so it is taken only if its trip is no longer than that of the older sample plus what the clocks may
have drifted apart since, at DRIFT seconds a second. No oscillator is that bad; a server whose clock was set
is followed with the next sample of an ordinary trip.

Between the samples time runs by CLOCK_BOOTTIME, which no one can set and which goes on while the machine
sleeps or the process is stopped.
"""

from __future__ import annotations

import functools
import math
import time
from typing import NamedTuple

DRIFT = 0.01

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


boot_s = functools.partial(time.clock_gettime, _CLOCK)
"""Seconds since the machine started, also while it slept."""


class Moment(NamedTuple):
    """One moment by both clocks."""

    mesh_s: float
    """Unix seconds; the server's clock may be set."""
    boot_s: float


class MeshClock:
    __slots__ = ("_sent_s", "_trip_s", "offset_s")

    def __init__(self) -> None:
        self.offset_s = math.nan
        """From boot_s to Unix seconds by the mesh's clock; NaN before the first sample."""
        self._sent_s = -math.inf
        self._trip_s = math.inf

    def sample(self, sent_s: float, heard_s: float, stored_s: float) -> None:
        """`sent_s`, `heard_s`: boot_s; `stored_s`: Unix seconds by the server's clock."""
        trip_s = max(0.0, heard_s - sent_s)
        if trip_s <= self._trip_s + (sent_s - self._sent_s) * DRIFT:
            self.offset_s = stored_s - sent_s
            self._sent_s, self._trip_s = sent_s, trip_s

    @property
    def is_known(self) -> bool:
        return self._trip_s < math.inf

    @property
    def ahead_max_s(self) -> float:
        """How far it may be ahead of the server's clock."""
        return self._trip_s

    def at_s(self, now_s: float) -> float:
        """Unix seconds at `now_s` (boot_s) by the mesh's clock; NaN before the first sample."""
        return now_s + self.offset_s

    def now_s(self) -> float:
        return self.at_s(boot_s())

    def now(self) -> Moment:
        now_s = boot_s()
        return Moment(self.at_s(now_s), now_s)
