"""What a gray run is judged by: seconds of calm, events without an answer, and health that lies."""

from __future__ import annotations

from collections.abc import Iterable

from toolbox.chaos.calm import SAID_YES_S, CalmClock, HealthJudge, Unanswered
from toolbox.chaos.entries import Book, Entry


def test_what_heals_is_timed_from_the_end_of_the_last_cause_or_from_when_it_was_owed() -> None:
    clock = CalmClock(10)
    assert clock.beyond_s(11, 13) == 2
    clock.begin()
    clock.begin()
    assert clock.beyond_s(11, 20) == 0
    clock.end(20)
    assert clock.beyond_s(11, 30) == 0
    clock.end(30)
    assert clock.is_calm
    assert clock.beyond_s(11, 34) == 4
    assert clock.beyond_s(32, 34) == 2


def entry(n: int) -> Entry:
    return Entry("hot", "poll/final", "ann", n)


def test_the_oldest_event_without_an_answer_is_timed_whatever_is_answered_after_it() -> None:
    book, waiting = Book(), Unanswered()
    first, second, third = (entry(n) for n in range(3))
    for at, each in enumerate((first, second, third)):
        book.sent(each)
        waiting.sent(each, at)
    book.ack(second, iter(()))
    assert waiting.oldest_s(9) == 0
    book.ack(first, iter(()))
    assert waiting.oldest_s(10) == 2
    book.give_up(third)
    assert waiting.oldest_s(50) == 50


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
        judge.heard(now_s, CalmClock(0), ok, failing_s)
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


def test_how_long_it_said_no_is_told_beyond_the_end_of_a_cause() -> None:
    judge, clock = HealthJudge(), CalmClock(0)
    clock.begin()
    judge.heard(1, clock, False, 0.0)
    judge.heard(9, clock, False, 0.0)
    clock.end(9)
    judge.heard(12, clock, False, 0.0)
    judge.heard(13, clock, True, 0.0)
    assert judge.longest_no_s == 3
    assert judge.answers == {"yes": 1, "no": 3}
