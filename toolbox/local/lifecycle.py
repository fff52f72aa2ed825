"""The state machine of one supervised process: pure, driven by `now`, returns what to do.

    waiting ──needs met──▶ starting ──SERVING──▶ ready
       ▲                      │ exits, or too slow  │ exits, or silent
       └──── backoff ◀────────┴─────────────────────┘
                │ budget spent
                ▼
              failed                 stop(): from anywhere ──▶ stopping ──exit──▶ stopped

The shell reports what happened by the `note_` methods and then calls `advance` until it answers None.

Invariants (property-tested):
* SPAWN is answered only while no process runs; after `note_stop` never again.
* In any window of `window_s` at most `budget` restarts are granted; the next exit makes it `failed`, which is
  final, unless it is to `keep_trying` and was ready once. One that was never ready gets `first_attempts`
  only: it is broken, and its user waits for the reason.
* A delay doubles with each failure in a row, within [1 - jitter, 1 + jitter] of its nominal value, and starts
  over once the process was ready for `stable_s`.
* A stop ends: TERMINATE at once, KILL after `grace_s`.

A ready process is killed when it has not answered *anything* for `silent_max_s`. An answer of NOT_SERVING is
a sign of life: it says that something else is away, and a restart would not bring that back. The bound is
long, because on a starved machine a live process may be slow, and killing it makes that worse; Envoy routes
around it much sooner.

A ready process that says itself that it does no work (WEDGED: a store that cannot write) is killed once it
has said so for `wedged_max_s`: after that only a restart helps. One whose cause is still there, such as a
full disk, answers ALIVE with the reason, and is left alone until it is gone. One that `keep_trying` and was
ready once is never failed: it heals when its cause ends, so its delay stays bounded by `backoff_max_s`.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


class ProcessState(enum.StrEnum):
    """What `status` shows."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Answer(enum.Enum):
    """What a probe heard."""

    SERVING = enum.auto()
    ALIVE = enum.auto()
    """It answered, but is not ready."""
    WEDGED = enum.auto()
    """It says that it does no work, and a restart may help."""
    SILENT = enum.auto()


class Action(enum.Enum):
    SPAWN = enum.auto()
    TERMINATE = enum.auto()
    KILL = enum.auto()


@dataclass(frozen=True, slots=True)
class Policy:
    start_within_s: float = 30.0
    grace_s: float = 10.0
    silent_max_s: float = 30.0
    wedged_max_s: float = 3.0
    backoff_first_s: float = 0.1
    backoff_max_s: float = 4.0
    jitter: float = 0.3
    stable_s: float = 10.0
    budget: int = 10
    window_s: float = 60.0
    first_attempts: int = 3
    keep_trying: bool = False

    def __post_init__(self) -> None:
        assert 0 < self.backoff_first_s <= self.backoff_max_s
        assert 0 <= self.jitter < 1
        assert self.budget >= 1
        assert self.first_attempts >= 1
        assert self.backoff_max_s < self.window_s, "a budget that never fills up bounds nothing"


class Lifecycle:
    """`uniform` answers a number in [0, 1): the jitter's randomness."""

    def __init__(self, policy: Policy, uniform: Callable[[], float]) -> None:
        self._policy = policy
        self._uniform = uniform
        self.state = ProcessState.STARTING
        self.running = False
        self.restarts = 0
        """How often it was started again."""
        self.reason = ""
        """Why it last ended, or what it is being killed for; for a person."""
        self.was_ready = False
        self.ready_after_s: float | None = None
        """From the last spawn to readiness."""
        self.serving = False
        """What the last probe heard: a ready process may say that it is not serving for now."""
        self.problem = ""
        """Why a ready process does no work, as it says itself; "" if it does, or says nothing."""
        self._wedged_at: float | None = None
        self._started_at = 0.0
        self._ready_at = 0.0
        self._heard_at = 0.0
        self._retry_at = 0.0
        self._stop_at = 0.0
        self._terminated = False
        self._killed = False
        self._failures = 0
        self._attempts = 0
        self._granted: deque[float] = deque()

    @property
    def waiting(self) -> bool:
        """For what it needs."""
        return self.state is ProcessState.STARTING and not self.running

    @property
    def ended(self) -> bool:
        return self.state in (ProcessState.FAILED, ProcessState.STOPPED)

    def silent_s(self, now: float) -> float:
        """How long a ready process has not answered."""
        return now - self._heard_at if self.state is ProcessState.READY else 0.0

    def advance(self, now: float, needs_met: bool) -> Action | None:
        """What to do now; None until something happens or `wake_at` comes."""
        if self.state is ProcessState.BACKOFF and now >= self._retry_at:
            self.state = ProcessState.STARTING
            self.restarts += 1
        if self.state is ProcessState.STARTING:
            return self._advance_starting(now, needs_met)
        if self.state is ProcessState.READY and now >= self._heard_at + self._policy.silent_max_s:
            return self._kill(f"did not answer its health check for {self._policy.silent_max_s:g} s")
        if self.state is ProcessState.READY and now >= self._wedged_until():
            return self._kill(self.problem)
        if self.state is ProcessState.STOPPING:
            return self._advance_stopping(now)
        return None

    def _advance_starting(self, now: float, needs_met: bool) -> Action | None:
        if self.running:
            if now >= self._started_at + self._policy.start_within_s:
                return self._kill(f"was not ready within {self._policy.start_within_s:g} s")
            return None
        if not needs_met:
            return None
        self.running = True
        self.serving = False
        self._killed = False
        self.problem, self._wedged_at = "", None
        self._started_at = self._heard_at = now
        self._attempts += 1
        return Action.SPAWN

    def _advance_stopping(self, now: float) -> Action | None:
        if not self._terminated:
            self._terminated = True
            return Action.TERMINATE
        if now >= self._stop_at + self._policy.grace_s:
            return self._kill(f"did not end within {self._policy.grace_s:g} s")
        return None

    def _kill(self, reason: str) -> Action | None:
        if self._killed:
            return None
        self._killed = True
        self.reason = reason
        return Action.KILL

    def wake_at(self) -> float | None:
        """When `advance` may answer something new although nothing happened."""
        if self.state is ProcessState.BACKOFF:
            return self._retry_at
        if self._killed or not self.running:
            return None
        if self.state is ProcessState.STARTING:
            return self._started_at + self._policy.start_within_s
        if self.state is ProcessState.READY:
            return min(self._heard_at + self._policy.silent_max_s, self._wedged_until())
        return self._stop_at + self._policy.grace_s

    def _wedged_until(self) -> float:
        return math.inf if self._wedged_at is None else self._wedged_at + self._policy.wedged_max_s

    def note_answer(self, answer: Answer, now: float, problem: str = "") -> None:
        """A probe of the running process answered; late answers of an earlier one must not be reported.
        `problem`: why it is not serving, if it says so."""
        if not self.running or self._killed:
            return
        self.serving = answer is Answer.SERVING
        if answer is not Answer.SILENT:
            self._heard_at = now
            self.problem = problem
            if answer is not Answer.WEDGED:
                self._wedged_at = None
            elif self._wedged_at is None:
                self._wedged_at = now
        if self.serving and self.state is ProcessState.STARTING:
            self.state = ProcessState.READY
            self.was_ready = True
            self.ready_after_s = now - self._started_at
            self._ready_at = now

    def note_exit(self, reason: str, now: float) -> None:
        """The process is gone (or could not be started, which `reason` says)."""
        assert self.running, "only what runs can end"
        self.running = False
        self.serving = False
        if self.state is ProcessState.STOPPING:
            self.state = ProcessState.STOPPED
            return
        self.reason = f"{self.reason}; killed" if self._killed else reason
        if self.state is ProcessState.READY and now >= self._ready_at + self._policy.stable_s:
            self._failures = 0
        self._failures += 1
        while self._granted and self._granted[0] <= now - self._policy.window_s:
            self._granted.popleft()
        if not self.was_ready and self._attempts >= self._policy.first_attempts:
            self._fail(f"was never ready in {self._attempts} attempts")
        elif len(self._granted) >= self._policy.budget and not (self._policy.keep_trying and self.was_ready):
            self._fail(f"ended more than {self._policy.budget} times within {self._policy.window_s:g} s")
        else:
            if len(self._granted) < self._policy.budget:
                self._granted.append(now)
            self._retry_at = now + self._delay_s()
            self.state = ProcessState.BACKOFF

    def _fail(self, why: str) -> None:
        self.state = ProcessState.FAILED
        self.reason = f"{why}, the last time: {self.reason}"

    def _delay_s(self) -> float:
        # 2.0**n overflows past n = 1023; the bound is reached long before.
        doubled = self._policy.backoff_first_s * 2.0 ** min(self._failures - 1, 32)
        nominal = min(self._policy.backoff_max_s, doubled)
        return nominal * (1.0 + self._policy.jitter * (2.0 * self._uniform() - 1.0))

    def note_stop(self, now: float) -> None:
        """It is to end. A process that failed stays failed, so that the last status tells of it."""
        if self.state in (ProcessState.FAILED, ProcessState.STOPPED, ProcessState.STOPPING):
            return
        if not self.running:
            self.state = ProcessState.STOPPED
            return
        self.state = ProcessState.STOPPING
        self.serving = False
        self._stop_at = now
