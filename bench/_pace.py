"""Events at a rate, by a schedule that waits for nobody: how long does an ack take?

An event's time counts from the moment it was due, not from when it could be sent: while a service stands
still, the events that were due meanwhile are late, and say so (no coordinated omission). Streams take turns;
each event's ack is the first that covers its number. How late the generator itself was is told beside it:
on a machine that has other things to do, that lateness is in every figure.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from bench._drive import Drive, DrivenStream

_TURN_S = 0.001
_LEAD_S = 0.05


class Paced(NamedTuple):
    took_s: list[float]
    """Of each event, sorted."""
    late_s: float
    """How long the generator did not get to send what was due, at most."""


def pace(drive: Drive, rate: float, seconds: float) -> Paced:
    """How long the acks of rate * seconds events took. `drive` sends one event a message and is settled.

    Raises H2Error, MeshError.
    """
    streams = drive.streams
    count = len(streams)
    first = [stream.sent + 1 for stream in streams]
    took: list[float] = []
    begin_s = time.monotonic() + _LEAD_S

    def acked(stream: DrivenStream, seq: int) -> None:
        now_s = time.monotonic()
        for each in range(stream.acked + 1, seq + 1):
            due_s = begin_s + ((each - first[stream.number]) * count + stream.number) / rate
            took.append(now_s - due_s)

    drive.on_ack = acked
    total = int(rate * seconds)
    late: deque[DrivenStream] = deque()
    due = 0
    late_s = 0.0
    while due < total or late:
        now_due = min(total, int((time.monotonic() - begin_s) * rate) + 1)
        late_s = max(late_s, (now_due - due) / rate)
        late.extend(streams[at % count] for at in range(due, now_due))
        due = max(due, now_due)
        for _ in range(len(late)):
            stream = late.popleft()
            if not drive.send(stream):
                late.append(stream)
        drive.turn(max(0.0, min(_TURN_S, begin_s + due / rate - time.monotonic())))
    drive.settle()
    drive.on_ack = None
    took.sort()
    return Paced(took, late_s)
