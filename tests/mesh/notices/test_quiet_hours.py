"""Quiet hours in time zones whose clocks change."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.notify.v1.notify_pb2 import QuietHours
from grandstand.wire.errors import Invalid
from mesh.notices.quiet_hours import Quiet, checked, quiet_of

BERLIN, NEW_YORK, LORD_HOWE, APIA = (
    ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
)
TIMES = st.builds(datetime.time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
MOMENTS = st.one_of(
    st.integers(1_760_000_000, 1_830_000_000),
    *(  # near changes of Berlin and Lord Howe, and the day that Apia left out
        st.integers(change - 100_000, change + 100_000)
        for change in (1_774_746_000, 1_792_890_000, 1_775_314_800, 1_325_239_200)
    ),
)


def is_quiet(quiet: Quiet, at_s: float) -> bool:
    clock = datetime.datetime.fromtimestamp(at_s, quiet.zone).time()
    inside = min(quiet.begin, quiet.end) <= clock < max(quiet.begin, quiet.end)
    return inside if quiet.begin < quiet.end else not inside


@given(TIMES, TIMES, st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, APIA]), MOMENTS, st.floats(0, 1))
def test_quiet_hours_end_at_the_first_moment_that_is_not_quiet(
    begin: datetime.time, end: datetime.time, zone: ZoneInfo, at_s: int, share: float
) -> None:
    if begin == end:
        return
    quiet = Quiet(begin, end, zone)
    until_s = quiet.until_s(at_s)
    if until_s is None:
        assert not is_quiet(quiet, at_s)
        return
    assert at_s < until_s < at_s + quiet.LONGEST_S
    assert not is_quiet(quiet, until_s)
    assert is_quiet(quiet, until_s - 1)
    assert is_quiet(quiet, at_s + share * (until_s - 1 - at_s))


def ends(quiet: Quiet, local: str, fold: int = 0) -> str:
    """The end of the quiet hours at that local time, in UTC."""
    at = datetime.datetime.fromisoformat(local).replace(tzinfo=quiet.zone, fold=fold)
    until_s = quiet.until_s(at.timestamp())
    return "" if until_s is None else datetime.datetime.fromtimestamp(until_s, datetime.UTC).isoformat()[:16]


def test_an_end_that_the_clock_skips_is_when_it_goes_on_and_one_that_it_repeats_comes_twice() -> None:
    night = Quiet(datetime.time(22), datetime.time(2, 30), BERLIN)
    assert ends(night, "2026-03-28 23:00") == "2026-03-29T01:00"
    assert ends(night, "2026-03-29 03:00") == ""
    assert ends(night, "2026-10-24 23:00") == "2026-10-25T00:30"
    assert ends(night, "2026-10-25 02:45") == ""
    assert ends(night, "2026-10-25 02:10", fold=1) == "2026-10-25T01:30"


@pytest.mark.parametrize(
    ("begin", "end", "zone", "why"),
    [
        ("24:00", "07:00", "Europe/Berlin", "quiet_hours.from: '24:00' is no time of day"),
        ("22:00", "7:00", "Europe/Berlin", "quiet_hours.until: '7:00' is no time of day"),
        ("22:00", "22:00", "Europe/Berlin", "is the same as from; leave quiet_hours unset"),
        ("22:00", "07:00", "Europe/Atlantis", "time_zone: 'Europe/Atlantis' is no time zone"),
        ("22:00", "07:00", "../../etc/passwd", "is no time zone"),
        ("22:00", "07:00", "Europe", "is no time zone"),
        ("22:00", "07:00", "", "quiet_hours.time_zone: is empty"),
    ],
)
def test_what_are_no_quiet_hours_is_refused_and_if_stored_makes_nothing_quiet(
    begin: str, end: str, zone: str, why: str
) -> None:
    hours = QuietHours(**{"from": begin, "until": end}, time_zone=zone)
    with pytest.raises(Invalid) as told:
        checked(hours)
    assert why in told.value.message
    assert quiet_of(hours) is None
