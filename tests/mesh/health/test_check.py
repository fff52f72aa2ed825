"""A check is well while its newest proof is young enough, whatever failed in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.health.check import Check

BOUND_S = 3.0


def test_before_the_first_proof_is_due_nothing_is_wrong_and_nothing_decided() -> None:
    check = Check("event log", BOUND_S)
    assert check.problem(100.0) == ""
    assert not check.is_decided(103.0)
    assert check.problem(104.0) == "did not answer for 4 s"
    assert check.is_decided(104.0)


def test_the_reason_heard_is_told_once_the_bound_has_passed_and_forgotten_with_a_proof() -> None:
    check = Check("event log", BOUND_S)
    check.proved(0.0)
    check.failed("insufficient resources", 1.0)
    assert check.problem(3.0) == ""
    assert check.problem(3.1) == "insufficient resources"
    check.proved(4.0)
    assert check.problem(5.0) == ""
    assert check.problem(8.0) == "did not answer for 4 s"


def test_a_failure_without_an_answer_takes_the_place_of_an_older_reason() -> None:
    check = Check("redis", BOUND_S)
    check.proved(0.0)
    check.failed("LOADING", 1.0)
    check.failed("", 2.0)
    assert check.problem(12.0) == "did not answer for 12 s"


@given(st.lists(st.tuples(st.floats(0.001, 5.0), st.booleans()), max_size=30), st.floats(0.0, 20.0))
def test_it_is_well_just_while_the_newest_proof_is_young(
    steps: list[tuple[float, bool]], later_s: float
) -> None:
    check, now_s, newest_s = Check("x", BOUND_S), 0.0, 0.0
    check.begin(0.0)
    for wait_s, proves in steps:
        now_s += wait_s
        if proves:
            newest_s = now_s
            check.proved(now_s)
        else:
            check.failed("no", now_s)
    assert (check.problem(now_s + later_s) == "") == (now_s + later_s - newest_s <= BOUND_S)


def test_what_was_not_proven_while_this_process_stood_still_is_no_fault() -> None:
    check = Check("event log", BOUND_S)
    check.proved(10.0)
    check.stalled(60.0, 70.5)
    assert check.problem(70.5) == ""
    check.proved(70.6)
    check.stalled(60.0, 70.7)
    assert check.problem(73.8) != ""


def test_a_short_bound_is_for_refusals_and_not_for_a_process_that_had_no_time_to_look() -> None:
    check = Check("room", 0.5, BOUND_S)
    check.proved(0.0)
    assert check.problem(1.0) == "", "nothing was refused"
    check.failed("the event log is full", 1.0)
    assert check.problem(1.0) == "the event log is full"
    check.proved(2.0)
    assert check.problem(5.1) == "did not answer for 3 s"
