"""Publishes on their way to the event log: what to send when, and how each of them ends.

The pure core of `mesh.jetstream.pipeline`. A publish waits, flies (it was sent, and may be sent again under
the same message id), and is settled once: stored, refused, or given up at its deadline.

Invariants:
* Each publish that `submit` took is returned once by `stored`, `refused`, `expire` or `close`, and
  is never sent after that.
* An ack that comes after the deadline settles nothing: nobody may take for stored in time what
  was not (I9).
* Publishes are sent first in the order in which they were submitted, and nothing while the
  connection is away.
* `away` is True from a disconnect, or from `attempt_s` without an ack while something flies, until
  the event log answers again.

A publish is sent again when its attempt timed out, after a reconnect, and shortly after an
answer that asked for it.

Bounds: `count_max` publishes and `bytes_max` payload bytes fly; `waiting_max` and `waiting_bytes_max`
more wait. Beyond, `submit` refuses: who submits stops taking things in before that.

Rejected: a deadline heap and a timer for each publish. What flies is few and is looked through about
once an attempt; what waits only when the earliest deadline has come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

from grandstand.wire.errors import GrandstandError
from mesh import limits

OnDone = Callable[[int | None, GrandstandError | None], None]

PROBE_S = 0.2
"""How often an event log that is away is asked whether it is back."""
_SMOOTHING = 1 / 8


class Publish:
    """One message. Times are the loop's, in seconds."""

    __slots__ = (
        "_again_at",
        "_attempts",
        "_sent_at",
        "deadline_at",
        "headers",
        "is_settled",
        "message_id",
        "number",
        "on_done",
        "payload",
        "subject",
        "submitted_at",
    )

    def __init__(
        self,
        number: int,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None,
        deadline_at: float,
        on_done: OnDone,
    ) -> None:
        self.number = number
        """Names it in the reply subject; unique to its InFlight."""
        self.subject = subject
        self.payload = payload
        self.message_id = message_id
        self.headers = headers
        self.deadline_at = deadline_at
        self.on_done = on_done
        self.is_settled = False
        self.submitted_at = 0.0
        self._sent_at = 0.0
        self._again_at = 0.0
        self._attempts = 0


class InFlight:
    """`attempt_s`: how long an attempt is waited for. `again_s`: after how long a vain one is repeated."""

    def __init__(
        self,
        count_max: int = limits.PUBLISH_IN_FLIGHT_MAX,
        bytes_max: int = limits.PUBLISH_IN_FLIGHT_BYTES_MAX,
        waiting_max: int = limits.PUBLISH_WAITING_MAX,
        waiting_bytes_max: int = limits.PUBLISH_WAITING_BYTES_MAX,
        attempt_s: float = limits.PUBLISH_ATTEMPT_S,
        again_s: float = limits.PUBLISH_AGAIN_S,
    ) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._waiting_max = waiting_max
        self._waiting_bytes_max = waiting_bytes_max
        self._attempt_s = attempt_s
        self._again_s = again_s
        self.is_connected = False
        self.away = True
        self.waiting_bytes = 0
        self.in_flight_bytes = 0
        self.ack_latency_s = 0.0
        """Smoothed, from sending to the ack, of publishes that were sent once: the ack of another tells
        nothing of how long the log takes (Karn's algorithm)."""
        self._waiting: deque[Publish] = deque()
        self._flying: dict[int, Publish] = {}
        # Never later than the earliest of its kind; sharpened when it has come.
        self._deadline_at = math.inf
        self._again_at = math.inf
        self._heard_at = -math.inf
        self._probe_at = math.inf
        self._hurried = False

    @property
    def waiting(self) -> int:
        """How many were not sent yet."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many were sent and not settled."""
        return len(self._flying)

    def oldest_age_s(self, now_s: float) -> float:
        """How long ago the oldest unsettled publish was submitted; 0 if there is none."""
        for publish in self._flying.values():
            return now_s - publish.submitted_at
        return now_s - self._waiting[0].submitted_at if self._waiting else 0.0

    def submit(self, publish: Publish, now_s: float) -> bool:
        """Takes it, or answers False because too much waits already."""
        size = len(publish.payload)
        if len(self._waiting) >= self._waiting_max or self.waiting_bytes + size > self._waiting_bytes_max:
            return False
        publish.submitted_at = now_s
        self._waiting.append(publish)
        self.waiting_bytes += size
        if publish.deadline_at < self._deadline_at:
            self._deadline_at = publish.deadline_at
        return True

    def is_ready(self, now_s: float) -> bool:
        """Whether `take` has something to give."""
        return self.is_connected and (self._again_at <= now_s or self._fits())

    def take(self, now_s: float) -> list[Publish]:
        """What to send now, in order. Call `expire` before it."""
        if not self.is_connected:
            return []
        sends = self._take_again(now_s) if self._again_at <= now_s else []
        while self._fits():
            publish = self._waiting.popleft()
            size = len(publish.payload)
            self.waiting_bytes -= size
            self.in_flight_bytes += size
            if not self._flying:
                self._heard_at = max(self._heard_at, now_s)  # from now on an ack is due
            self._flying[publish.number] = publish
            sends.append(publish)
            self._send(publish, now_s)
        return sends

    def _fits(self) -> bool:
        return (
            bool(self._waiting)
            and len(self._flying) < self._count_max
            and (not self._flying or self.in_flight_bytes + len(self._waiting[0].payload) <= self._bytes_max)
        )

    def _take_again(self, now_s: float) -> list[Publish]:
        sends = []
        self._again_at = math.inf
        for publish in self._flying.values():
            if publish._again_at > now_s:
                self._again_at = min(self._again_at, publish._again_at)
            else:
                sends.append(publish)
                self._send(publish, now_s)
        return sends

    def put_off(self, now_s: float) -> None:
        """Nothing can be repeated now: the connection has not taken the last attempts yet."""
        self._probe_at = max(self._probe_at, now_s + self._again_s)
        if self._again_at > now_s:
            return
        self._again_at = math.inf
        for publish in self._flying.values():
            self._repeat_at(publish, max(publish._again_at, now_s + self._again_s))

    def _send(self, publish: Publish, now_s: float) -> None:
        publish._attempts += 1
        publish._sent_at = now_s
        self._repeat_at(publish, now_s + self._attempt_s)

    def _repeat_at(self, publish: Publish, at_s: float) -> None:
        publish._again_at = at_s
        if at_s < self._again_at:
            self._again_at = at_s

    def stored(self, number: int, now_s: float) -> Publish | None:
        """An ack was heard: the publish it settles, if any."""
        publish = self._flying.get(number)
        if publish is None:
            self._heard(now_s)
            return None
        if publish._attempts == 1:
            sample_s = now_s - publish._sent_at
            self.ack_latency_s += _SMOOTHING * (sample_s - self.ack_latency_s)
        self._heard(now_s)
        return self._settle(publish) if now_s <= publish.deadline_at else None

    def refused(self, number: int, now_s: float) -> Publish | None:
        """The event log answered that it will not take it: the publish that settles, if any."""
        publish = self._flying.get(number)
        self._heard(now_s)
        return None if publish is None else self._settle(publish)

    def again(self, number: int, now_s: float) -> None:
        """The attempt came to nothing, and another may not."""
        publish = self._flying.get(number)
        if publish is not None:
            self._repeat_at(publish, now_s + self._again_s)

    def answered(self, now_s: float) -> None:
        """The event log answered a probe. What flies is sent again at once, the first time: its ack will
        say that the log is back, and should that be slow to come, haste would only add to its load."""
        if not self._flying:
            self._heard(now_s)
        elif self.away and not self._hurried:
            self._hurried = True
            self._all_again(now_s)

    def connected(self, now_s: float) -> None:
        """What flew is sent again; `away` ends with an answer of the event log, not with a connection."""
        self.is_connected = True
        self._heard_at = now_s
        self._probe_at = now_s
        self._all_again(now_s)

    def disconnected(self) -> None:
        self.is_connected = False
        self.away = True

    def expire(self, now_s: float) -> list[Publish]:
        """What time has decided: the publishes whose deadline has come; looks whether the log is away."""
        if self._is_silent(now_s):
            self.away = True
            self._probe_at = now_s
        if now_s < self._deadline_at:
            return []
        self._deadline_at = math.inf
        expired = []
        for publish in (*self._flying.values(), *self._waiting):
            if publish.deadline_at <= now_s:
                publish.is_settled = True
                expired.append(publish)
            else:
                self._deadline_at = min(self._deadline_at, publish.deadline_at)
        for publish in expired:
            if self._flying.pop(publish.number, None) is not None:
                self.in_flight_bytes -= len(publish.payload)
            else:
                self.waiting_bytes -= len(publish.payload)
        if any(publish.is_settled for publish in self._waiting):
            self._waiting = deque(publish for publish in self._waiting if not publish.is_settled)
        return expired

    def _is_silent(self, now_s: float) -> bool:
        return (
            not self.away
            and self.is_connected
            and bool(self._flying)
            and now_s >= self._heard_at + self._attempt_s
        )

    def take_probe(self, now_s: float) -> bool:
        """Whether the event log is to be asked now whether it is back; then not for PROBE_S."""
        if not (self.away and self.is_connected) or now_s < self._probe_at:
            return False
        self._probe_at = now_s + PROBE_S
        return True

    def due_at(self) -> float:
        """When to come back, to `expire`, `take_probe` and `take`; inf: not before something happens."""
        due_at = self._deadline_at
        if self.is_connected:
            due_at = min(due_at, self._again_at)
            if self.away:
                due_at = min(due_at, self._probe_at)
            elif self._flying:
                due_at = min(due_at, self._heard_at + self._attempt_s)
        return due_at

    def close(self) -> list[Publish]:
        """Gives up what is not settled."""
        left = [*self._flying.values(), *self._waiting]
        for publish in left:
            publish.is_settled = True
        self._flying.clear()
        self._waiting.clear()
        self.in_flight_bytes = self.waiting_bytes = 0
        self._deadline_at = self._again_at = math.inf
        return left

    def _all_again(self, now_s: float) -> None:
        for publish in self._flying.values():
            publish._again_at = now_s
        self._again_at = now_s if self._flying else math.inf

    def _heard(self, now_s: float) -> None:
        self._heard_at = now_s
        if self.is_connected:
            self.away = self._hurried = False

    def _settle(self, publish: Publish) -> Publish:
        publish.is_settled = True
        del self._flying[publish.number]
        self.in_flight_bytes -= len(publish.payload)
        return publish
