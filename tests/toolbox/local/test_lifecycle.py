"""The state machine of one process, driven by hypothesis over a simulated clock."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from toolbox.local.lifecycle import Action, Answer, Lifecycle, Policy, ProcessState

POLICY = Policy(
    start_within_s=20, grace_s=5, silent_max_s=15, budget=4, window_s=60, first_attempts=3, stable_s=10
)


class LifecycleMachine(RuleBasedStateMachine):
    """Plays the shell: reports what happens, does what is said, and checks what may be said."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.lifecycle = Lifecycle(POLICY, lambda: 0.5)
        self.running = False
        self.needs_met = False
        self.stop_at: float | None = None
        self.killed_at: float | None = None
        self.respawned_at: list[float] = []
        self.spawns = 0

    def settle(self) -> None:
        """Calls `advance` as the shell does, until it has nothing more to say."""
        for _ in range(4):
            action = self.lifecycle.advance(self.now, self.needs_met)
            if action is None:
                return
            self.perform(action)
        raise AssertionError("advance never comes to rest")

    def perform(self, action: Action) -> None:
        if action is Action.SPAWN:
            assert not self.running, "spawned beside a running process"
            assert self.stop_at is None, "spawned after the stop"
            assert self.needs_met, "spawned before its needs"
            self.running = True
            self.killed_at = None
            self.spawns += 1
            if self.spawns > 1:
                self.respawned_at.append(self.now)
        else:
            assert self.running, f"{action} without a process"
        if action is Action.TERMINATE:
            assert self.stop_at is not None
        if action is Action.KILL:
            assert self.killed_at is None, "killed twice"
            self.killed_at = self.now

    @rule(met=st.booleans())
    def needs(self, met: bool) -> None:
        self.needs_met = met
        self.settle()

    @rule(passed=st.floats(0.0, 30.0))
    def time_passes(self, passed: float) -> None:
        """The shell wakes at `wake_at`, not only at the end."""
        until = self.now + passed
        while (wake_at := self.lifecycle.wake_at()) is not None and wake_at <= until:
            self.now = max(self.now, wake_at)
            before = (self.lifecycle.state, self.running, self.killed_at)
            self.settle()
            if before == (self.lifecycle.state, self.running, self.killed_at):
                break
        self.now = until
        self.settle()

    @precondition(lambda self: self.running)
    @rule(answer=st.sampled_from(Answer))
    def answers(self, answer: Answer) -> None:
        self.lifecycle.note_answer(answer, self.now)
        self.settle()

    @precondition(lambda self: self.running)
    @rule()
    def exits(self) -> None:
        self.running = False
        self.lifecycle.note_exit("exit code 1", self.now)
        self.settle()

    @precondition(lambda self: self.stop_at is None)
    @rule()
    def stop(self) -> None:
        self.stop_at = self.now
        self.lifecycle.note_stop(self.now)
        self.settle()

    @invariant()
    def believes_what_is(self) -> None:
        assert self.lifecycle.running == self.running
        if self.lifecycle.state in (ProcessState.READY, ProcessState.STOPPING):
            assert self.running
        if self.lifecycle.ended or self.lifecycle.state is ProcessState.BACKOFF:
            assert not self.running

    @invariant()
    def restarts_stay_within_the_budget(self) -> None:
        # A restart is granted at the exit and done after the delay (and once its needs are met), so that a
        # window over the spawns may hold those granted in a window as much longer.
        assert len(self.lifecycle._granted) <= POLICY.budget
        assert self.spawns <= 1 + self.lifecycle.restarts

    @invariant()
    def a_process_that_was_never_ready_is_not_tried_for_ever(self) -> None:
        if not self.lifecycle.was_ready:
            assert self.spawns <= POLICY.first_attempts

    @invariant()
    def a_stop_ends(self) -> None:
        if self.stop_at is not None and self.running and self.now >= self.stop_at + POLICY.grace_s:
            assert self.killed_at is not None


TestLifecycle = LifecycleMachine.TestCase


def ready(lifecycle: Lifecycle, now: float) -> None:
    assert lifecycle.advance(now, True) is Action.SPAWN
    lifecycle.note_answer(Answer.SERVING, now)
    assert lifecycle.state is ProcessState.READY


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40), st.floats(0.0, 0.999))
def test_no_window_holds_more_restarts_than_the_budget(lived_s: list[float], uniform: float) -> None:
    lifecycle = Lifecycle(POLICY, lambda: uniform)
    now = 0.0
    granted: list[float] = []
    for life_s in lived_s:
        ready(lifecycle, now)
        now += life_s
        lifecycle.note_exit("exit code 1", now)
        if lifecycle.state is ProcessState.FAILED:
            assert sum(now - POLICY.window_s < at for at in granted) == POLICY.budget
            return
        granted.append(now)
        wake_at = lifecycle.wake_at()
        assert wake_at is not None
        now = wake_at
    for end in granted:
        assert sum(end - POLICY.window_s < at <= end for at in granted) <= POLICY.budget


@given(st.floats(0.0, 0.999))
def test_delays_double_within_their_jitter_up_to_the_bound(uniform: float) -> None:
    policy = Policy(budget=12, window_s=600)
    lifecycle = Lifecycle(policy, lambda: uniform)
    now = 0.0
    for failure in range(12):
        ready(lifecycle, now)
        lifecycle.note_exit("exit code 1", now)
        nominal = min(policy.backoff_max_s, policy.backoff_first_s * 2**failure)
        wake_at = lifecycle.wake_at()
        assert wake_at is not None
        assert abs(wake_at - now - nominal) <= nominal * policy.jitter + 1e-9
        now = wake_at


def test_a_process_that_was_ready_for_long_starts_over_with_short_delays() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    for now in (0.0, 1.0, 5.0):
        ready(lifecycle, now)
        lifecycle.note_exit("exit code 1", now)
    ready(lifecycle, 20.0)
    now = 20.0 + POLICY.stable_s
    lifecycle.note_exit("exit code 1", now)
    assert lifecycle.wake_at() == now + POLICY.backoff_first_s


def test_a_ready_process_that_answers_not_serving_is_left_alone() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    ready(lifecycle, 0.0)
    for now in range(1, 200):
        lifecycle.note_answer(Answer.ALIVE, now)
        assert lifecycle.advance(now, True) is None
    assert lifecycle.state is ProcessState.READY
    assert not lifecycle.serving


def test_a_ready_process_that_is_silent_too_long_is_killed_and_restarted() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    ready(lifecycle, 0.0)
    lifecycle.note_answer(Answer.SILENT, 10.0)
    assert lifecycle.advance(POLICY.silent_max_s - 0.1, True) is None
    assert lifecycle.advance(POLICY.silent_max_s, True) is Action.KILL
    assert lifecycle.advance(POLICY.silent_max_s, True) is None
    lifecycle.note_exit("killed by SIGKILL", 16.0)
    assert lifecycle.state is ProcessState.BACKOFF
    assert "did not answer its health check" in lifecycle.reason


def test_a_store_that_says_that_it_cannot_write_is_killed_only_once_its_disk_is_well() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    ready(lifecycle, 0.0)
    for now in range(1, 100):
        lifecycle.note_answer(Answer.ALIVE, now, "disk full: 0 MB are free")
        assert lifecycle.advance(now, True) is None, "a restart would not help"
    assert lifecycle.problem == "disk full: 0 MB are free"
    lifecycle.note_answer(Answer.WEDGED, 100.0, "a write error")
    assert lifecycle.advance(100.0, True) is None, "it may recover by itself"
    until = lifecycle.wake_at()
    assert until == 100.0 + POLICY.wedged_max_s
    assert lifecycle.advance(until, True) is Action.KILL
    lifecycle.note_exit("killed by SIGKILL", until)
    assert lifecycle.state is ProcessState.BACKOFF
    assert lifecycle.reason == "a write error; killed"


def test_a_store_that_works_again_in_time_is_left_alone() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    ready(lifecycle, 0.0)
    lifecycle.note_answer(Answer.WEDGED, 1.0, "a write error")
    lifecycle.note_answer(Answer.SERVING, 2.0)
    assert lifecycle.advance(1.0 + POLICY.wedged_max_s, True) is None
    assert lifecycle.problem == ""


def test_one_that_is_to_keep_trying_never_fails_once_it_was_ready_and_is_tried_within_the_bound() -> None:
    policy = replace(POLICY, keep_trying=True)
    lifecycle = Lifecycle(policy, lambda: 0.5)
    ready(lifecycle, 0.0)
    now = 0.0
    for _ in range(10 * policy.budget):
        lifecycle.note_exit("disk full: 0 MB are free (exit code 1)", now)
        assert lifecycle.state is ProcessState.BACKOFF
        wake_at = lifecycle.wake_at()
        assert wake_at is not None
        assert wake_at <= now + policy.backoff_max_s * (1 + policy.jitter)
        now = wake_at
        assert lifecycle.advance(now, True) is Action.SPAWN


def test_one_that_was_never_ready_is_given_up_although_it_is_to_keep_trying() -> None:
    lifecycle = Lifecycle(replace(POLICY, keep_trying=True, first_attempts=1), lambda: 0.5)
    lifecycle.advance(0.0, True)
    lifecycle.note_exit("exit code 2", 1.0)
    assert lifecycle.state is ProcessState.FAILED


def test_a_start_that_takes_too_long_is_one_of_its_attempts() -> None:
    lifecycle = Lifecycle(POLICY, lambda: 0.5)
    now = 0.0
    for attempt in range(POLICY.first_attempts):
        assert lifecycle.advance(now, True) is Action.SPAWN, attempt
        now += POLICY.start_within_s
        assert lifecycle.advance(now, True) is Action.KILL
        lifecycle.note_exit("killed by SIGKILL", now)
        now += POLICY.backoff_max_s
    assert lifecycle.state is ProcessState.FAILED
    assert "was not ready within 20 s" in lifecycle.reason
    assert "3 attempts" in lifecycle.reason


def test_a_failed_process_stays_failed_through_a_stop() -> None:
    lifecycle = Lifecycle(Policy(first_attempts=1), lambda: 0.5)
    lifecycle.advance(0.0, True)
    lifecycle.note_exit("exit code 2", 1.0)
    assert lifecycle.state is ProcessState.FAILED
    lifecycle.note_stop(2.0)
    assert lifecycle.state is ProcessState.FAILED
    assert lifecycle.advance(100.0, True) is None
