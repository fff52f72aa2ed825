"""When notices are due: local times, clock changes, repeats. Pure."""

from __future__ import annotations

import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from grandstand.notify.v1.notify_pb2 import Repeat, Schedule
from grandstand.wire.errors import Invalid
from notify.schedule import AHEAD_MAX_DAYS, clocks, plan_of, said

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata", "UTC")
DAY_NS = 86_400 * 10**9
NOW_NS = int(datetime.datetime(2026, 10, 1, 12, tzinfo=datetime.UTC).timestamp()) * 10**9

repeats = st.one_of(
    st.builds(Repeat, days=st.integers(1, 366), times=st.integers(2, 1_000)),
    st.builds(Repeat, weeks=st.integers(1, 52), times=st.integers(2, 1_000)),
    st.builds(Repeat, months=st.integers(1, 12), times=st.integers(2, 1_000)),
)
locals_ = st.datetimes(datetime.datetime(2009, 1, 1), datetime.datetime(2032, 1, 1)).map(
    lambda at: at.replace(microsecond=0)
)


def schedule(local: str, zone: str = "Europe/Berlin", **repeat: int) -> Schedule:
    return Schedule(local_time=local, time_zone=zone, repeat=Repeat(**repeat) if repeat else None)


def moments(asked: Schedule, count: int | None = None) -> list[str]:
    plan = plan_of(asked)
    return [said(plan.due_ns(n)) for n in range(1, (count or plan.times) + 1)]


@given(locals_, st.sampled_from(ZONES))
def test_a_local_time_is_what_the_zones_clocks_show_or_is_skipped(
    local: datetime.datetime, name: str
) -> None:
    zone = ZoneInfo(name)
    found = clocks(local, zone)
    shown = [
        datetime.datetime.fromtimestamp(second, zone).replace(tzinfo=None)
        for second in (found.first, found.second)
        if second is not None
    ]
    if found.skipped is None:
        assert shown == [local] * len(shown)
        return
    before, after = found.skipped
    assert before <= local < after == shown[0]
    last = datetime.datetime.fromtimestamp(found.first - 1, zone).replace(tzinfo=None)
    assert last + datetime.timedelta(seconds=1) == before, "the change is between these two seconds"


@given(locals_, st.sampled_from(ZONES), repeats, st.integers(-3, 1_100), st.integers(1, 1_000))
def test_occurrences_come_in_order_and_the_next_one_is_found(
    local: datetime.datetime, name: str, repeat: Repeat, days: int, begin: int
) -> None:
    plan = plan_of(Schedule(local_time=f"{local:%Y-%m-%dT%H:%M:%S}", time_zone=name, repeat=repeat))
    due = [plan.due_ns(n) for n in range(1, plan.times + 1)]
    assert all(one <= other for one, other in pairwise(due))
    now_ns = due[0] + days * DAY_NS
    want = next((n for n in range(begin, plan.times + 1) if due[n - 1] > now_ns), None)
    assert plan.next_after(now_ns, begin) == (want or max(begin, plan.times + 1))


def test_an_occurrence_that_a_clock_change_skips_or_repeats_is_due_once() -> None:
    assert moments(schedule("2027-03-27T02:30", days=1, times=3)) == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:00:00Z",  # 02:30 is never; at 02:00 clocks go on to 03:00
        "2027-03-29T00:30:00Z",
    ]
    assert moments(schedule("2026-10-18T02:30", weeks=1, times=3)) == [
        "2026-10-18T00:30:00Z",
        "2026-10-25T00:30:00Z",  # and again at 01:30Z
        "2026-11-01T01:30:00Z",
    ]
    assert moments(schedule("2026-11-30T12:00", "UTC", months=1, times=5)) == [
        "2026-11-30T12:00:00Z",
        "2026-12-30T12:00:00Z",
        "2027-01-30T12:00:00Z",
        "2027-02-28T12:00:00Z",
        "2027-03-30T12:00:00Z",
    ]


@pytest.mark.parametrize(
    ("asked", "said_"),
    [
        (Schedule(), "schedule: set one of at and local_time"),
        (Schedule(at=Timestamp(seconds=1), local_time="2026-12-24T20:00"), "set one of at and local_time"),
        (Schedule(at=Timestamp(seconds=1), time_zone="UTC"), "schedule.time_zone: goes with local_time"),
        (Schedule(at=Timestamp(seconds=1), repeat=Repeat()), "schedule.repeat: goes with local_time"),
        (schedule("2026-12-24 20:00"), "'2026-12-24 20:00' is no local time"),
        (schedule("2026-02-30T20:00"), "is no local time"),
        (schedule("0001-01-01T00:00"), "is no local time of 1971 to 9998"),
        (schedule("2026-12-24T20:00", ""), "schedule.time_zone: is empty"),
        (schedule("2026-12-24T20:00", "Europe/Atlantis"), "schedule.time_zone: 'Europe/Atlantis' is no"),
        (schedule("2026-12-24T20:00", "Europe"), "'Europe' is no time zone"),
        (schedule("2026-12-24T20:00", "../etc/passwd"), "is no time zone"),
        (schedule("2026-12-24T20:00", "right/UTC"), "is no time zone"),
        (schedule("2026-12-24T20:00", times=2), "schedule.repeat: says no interval"),
        (schedule("2026-12-24T20:00", days=367, times=2), "schedule.repeat.days: is 367; 1 to 366"),
        (schedule("2026-12-24T20:00", months=1, times=1), "schedule.repeat.times: is 1; 2 to 1000"),
        (
            schedule("2027-03-28T02:30"),
            "2027-03-28T02:30 is never in Europe/Berlin, where clocks go on from 2027-03-28T02:00:00 to "
            '2027-03-28T03:00:00; give "2027-03-28T03:00:00" or later',
        ),
        (
            schedule("2026-10-25T02:30"),
            "is twice in Europe/Berlin, where clocks go back: at 2026-10-25T00:30:00Z and at "
            "2026-10-25T01:30:00Z; give the one you mean as schedule.at",
        ),
        (schedule("2026-10-01T13:59"), "schedule.local_time: 2026-10-01T11:59:00Z is past"),
        (Schedule(at=Timestamp(seconds=-(10**13))), "schedule.at: -10000000000000 s since 1970 is past"),
        (Schedule(at=Timestamp(seconds=10**13)), "schedule.at: is 10000000000000 s since 1970; at most 366"),
        (schedule("2027-10-03T00:00"), "at most 366 days ahead are allowed"),
        (schedule("9998-12-31T23:59", days=366, times=1_000), "at most 366 days ahead"),
        (schedule("2026-10-02T08:00", weeks=1, times=60), "ask for at most 53 times"),
        (schedule("2026-10-10T08:00", months=12, times=2), "leave out repeat"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(asked: Schedule, said_: str) -> None:
    with pytest.raises(Invalid) as refused:
        plan_of(asked).check(NOW_NS)
    assert said_ in refused.value.message


def test_what_is_ahead_by_less_than_a_year_and_a_day_is_taken() -> None:
    plan_of(Schedule(at=Timestamp(seconds=NOW_NS // 10**9 + AHEAD_MAX_DAYS * 86_400))).check(NOW_NS)
    plan_of(schedule("2026-10-02T08:00", weeks=1, times=53)).check(NOW_NS)
