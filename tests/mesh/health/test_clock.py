"""Whose clock is off: judged from what each process measured, and never from a slow trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import limits
from mesh.health import clock
from mesh.health.clock import ClockBoard, ClockVerdict, Offset, judge

MAX_S = limits.CLOCK_OFFSET_MAX_S
OFFSETS = st.floats(-100, 100)


def at(offset_s: float, trip_s: float = 0.002) -> Offset:
    return Offset(offset_s - trip_s / 2, offset_s + trip_s / 2)


@pytest.mark.parametrize(
    ("own", "others", "verdict"),
    [
        (at(0.5), [0.4, -0.2], ClockVerdict()),
        (at(-15), [0.1, -0.2], ClockVerdict(own_off_s=-15)),
        (at(15), [], ClockVerdict(own_off_s=15)),
        (at(15), [15.2], ClockVerdict(leader_off_s=-15.1)),
        (at(15), [15.2, 0.1], ClockVerdict(leader_off_s=-15.1)),
        (at(15), [15.2, 0.1, 0.2], ClockVerdict(own_off_s=15)),
        (at(15), [-15.0, 40.0], ClockVerdict(own_off_s=15)),
        (at(0.1), [15.2, 15.1], ClockVerdict()),
    ],
)
def test_the_server_is_wrong_if_most_processes_differ_from_it_alike(
    own: Offset, others: list[float], verdict: ClockVerdict
) -> None:
    found = judge(own, others)
    assert found.own_off_s == pytest.approx(verdict.own_off_s)
    assert found.leader_off_s == pytest.approx(verdict.leader_off_s)


@given(st.floats(-MAX_S, MAX_S), st.floats(0, 600), st.floats(0, 1), st.lists(OFFSETS, max_size=9))
def test_a_slow_trip_accuses_nobody(
    offset_s: float, trip_s: float, share: float, others: list[float]
) -> None:
    assert judge(Offset(offset_s - trip_s * share, offset_s + trip_s * (1 - share)), others) == ClockVerdict()
    assert judge(None, others) == ClockVerdict()


@given(st.lists(OFFSETS, min_size=1, max_size=9))
def test_not_all_processes_take_themselves_out_while_most_agree(offsets_s: list[float]) -> None:
    verdicts = [judge(at(own, 0), offsets_s[:n] + offsets_s[n + 1 :]) for n, own in enumerate(offsets_s)]
    ready = sum(not verdict.own_off_s for verdict in verdicts)
    for own in offsets_s:
        agreeing = sum(abs(each - own) <= MAX_S for each in offsets_s)
        if agreeing > 1 and 2 * agreeing > len(offsets_s):
            assert ready


def test_a_problem_says_the_figures_and_the_way_out() -> None:
    assert judge(at(-15.04), [0.0, 0.0]).problem == (
        "this server's clock is 15.0 s behind JetStream's; at most 2 s is allowed; set it (NTP)"
    )
    assert judge(at(-15), [-15, -15]).leader_problem == (
        "JetStream's clock is 15.0 s ahead of that of most of our processes; set it (NTP)"
    )


def test_the_first_by_name_asks_the_server_to_step_down_after_a_while_and_not_at_once_again() -> None:
    one, two = ClockBoard("ingest/1"), ClockBoard("ingest/2")

    def asks(board: ClockBoard, now_s: float) -> bool:
        one.hear("ingest/2", 30, now_s)
        two.hear("ingest/1", 30, now_s)
        board.judge(at(30), now_s)
        return board.asks_leader_to_step_down(at(30), now_s)

    assert not asks(one, 0)
    assert asks(one, clock.STEPDOWN_AFTER_S)
    assert not asks(one, clock.STEPDOWN_AFTER_S + 1)
    assert asks(one, clock.STEPDOWN_AFTER_S + clock.STEPDOWN_EVERY_S)
    assert not asks(two, 0)
    assert not asks(two, clock.STEPDOWN_AFTER_S)
    two.judge(at(0), 10)
    assert not two.asks_leader_to_step_down(at(0), 20)


def test_who_is_silent_has_no_voice_and_all_that_is_remembered_is_bounded() -> None:
    board = ClockBoard("ingest/1")
    for n in range(2 * clock.PROCESSES_MAX):
        board.hear(f"gateway/{n}", 15, 0)
    assert len(board._heard) == clock.PROCESSES_MAX
    assert board.judge(at(15), 1).leader_off_s
    assert board.judge(at(15), clock.SILENT_S + 1).own_off_s == pytest.approx(15)
