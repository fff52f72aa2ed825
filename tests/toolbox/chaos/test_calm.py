"""What a gray run is judged by: seconds of calm, events without an answer, and health that lies."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from toolbox.chaos.calm import SAID_YES_S, CalmClock, HealthJudge, Unanswered
from toolbox.chaos.entries import Book, Entry


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20))), st.integers(100, 200))
def test_calm_is_the_time_in_which_no_cause_lasts(causes: list[tuple[int, int]], until: int) -> None:
    clock = CalmClock(0)
    changes = [(at, 1) for at, _ in causes] + [(at + length, -1) for at, length in causes]
    for at, change in sorted(changes, key=lambda each: (each[0], -each[1])):
        if change > 0:
            clock.begin(at)
        else:
            clock.end(at)
    covered = {second for at, length in causes for second in range(at, at + length)}
    assert clock.calm_s(until) == until - len(covered)


def test_while_a_cause_lasts_the_calm_clock_stands() -> None:
    clock = CalmClock(10)
    assert clock.calm_s(12) == 2
    clock.begin(12)
    assert clock.calm_s(20) == 2
    clock.end(20)
    assert clock.calm_s(21) == 3


def entry(n: int) -> Entry:
    return Entry("hot", "poll/final", "ann", n)


def test_the_oldest_event_without_an_answer_is_timed_whatever_is_answered_after_it() -> None:
    book, waiting = Book(), Unanswered()
    first, second, third = (entry(n) for n in range(3))
    for at, each in enumerate((first, second, third)):
        book.sent(each)
        waiting.sent(each, at)
    book.ack(second, iter(()))
    assert waiting.look(9) == 9
    book.ack(first, iter(()))
    assert waiting.look(10) == 8
    book.give_up(third)
    assert waiting.look(50) == 0
    assert waiting.longest_s == 9


def test_sends_fail_while_something_waits_and_nothing_is_acked() -> None:
    book, waiting = Book(), Unanswered()
    first, second, third = (entry(n) for n in range(3))
    assert waiting.failing_s(100) == 0
    for each in (first, second):
        book.sent(each)
        waiting.sent(each, 100)
    assert waiting.failing_s(104) == 4
    book.ack(second, iter(()))
    waiting.acked(104)
    assert waiting.failing_s(106) == 2
    book.refuse(first, "UNAVAILABLE", maybe_stored=True)
    assert waiting.failing_s(107) == 0
    book.sent(third)
    waiting.sent(third, 110)
    assert waiting.failing_s(111) == 1


def judged(samples: Iterable[tuple[float, bool | None, float]]) -> HealthJudge:
    judge = HealthJudge()
    for now_s, ok, failing_s in samples:
        judge.heard(now_s, now_s, ok, failing_s)
    return judge


def test_health_that_says_yes_while_sends_fail_lies_once_for_each_time() -> None:
    failing = [(float(n), True, float(n)) for n in range(30)]
    assert len(judged(failing).lies) == 1
    again = [(30.0, True, 0.0), *((31.0 + n, True, float(n)) for n in range(15))]
    assert len(judged([*failing, *again]).lies) == 2


def test_health_that_says_no_or_nothing_in_between_does_not_lie() -> None:
    for said in (False, None):
        assert not judged((float(n), said if n % 9 == 8 else True, float(n)) for n in range(60)).lies


def test_a_client_that_waits_before_it_resends_makes_no_lie_of_the_first_yes() -> None:
    """The cause is over, health knows it, and the first ack is under way."""
    stopped = [(float(n), n < 3 or None, float(n)) for n in range(12)]
    healed = [(12.0 + n, True, 12.0 + n) for n in range(int(SAID_YES_S))]
    assert not judged([*stopped, *healed]).lies


def test_how_long_it_said_no_is_told_in_seconds_of_calm() -> None:
    judge = HealthJudge()
    for now_s, calm_s, ok in ((0, 0, True), (1, 1, False), (9, 2, False), (12, 5, False), (13, 6, True)):
        judge.heard(now_s, calm_s, ok, 0.0)
    assert judge.longest_no_s == 4
    assert judge.answers == {"yes": 2, "no": 3}
