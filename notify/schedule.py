"""When a notice is due: a moment, a local time, or local times again and again. Pure.

A local time is a moment only with its zone and the zone's clock changes:

    skipped    clocks go on from 02:00 to 03:00, and 02:30 never is. A single notice is refused; an occurrence
               of one that repeats is due at the instant of the change
    repeated   clocks go back from 03:00 to 02:00, and 02:30 is twice. A single notice is refused; an
               occurrence is due the first time

Which of both is asked of `ZoneInfo` by the fold (PEP 495): the two offsets differ, and the moment of fold 0
is the later one in a gap, the earlier one in a repeated hour.

Bound: all occurrences lie within AHEAD_MAX_DAYS, the longest that a notice is kept for, so there is no
schedule that outlives its stream. The rules of a zone that change meanwhile hold for what is due after that:
moments are computed from the local time whenever they are asked for.
"""

from __future__ import annotations

import bisect
import contextlib
import datetime
import re
from calendar import monthrange
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.notify.v1.notify_pb2 import Repeat, Schedule
from grandstand.wire.errors import Invalid, shown
from mesh.notices.time_zones import zone_of

AHEAD_MAX_DAYS = 366
TIMES_MAX = 1_000
EVERY_MAX = {"days": 366, "weeks": 52, "months": 12}
_DAY_NS = 86_400 * 10**9
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?\Z")


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the clocks of a zone do at a local time."""

    first: int
    """Unix seconds: the only moment, or the first of two, or the change that skips it."""
    second: int | None = None
    """The other moment of a local time that is repeated."""
    skipped: tuple[datetime.datetime, datetime.datetime] | None = None
    """Between which local times clocks go on; the second one exists."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The moments of one schedule; `times` of them, numbered from 1 on."""

    times: int
    at_ns: int = 0
    local: datetime.datetime | None = None
    """The first occurrence; None: it is the moment `at_ns`."""
    zone: ZoneInfo | None = None
    every: str = ""
    """A field of Repeat; "" for a single notice."""
    step: int = 0

    def due_ns(self, occurrence: int) -> int:
        """Unix nanoseconds. They do not decrease with `occurrence`."""
        if self.local is None or self.zone is None:
            return self.at_ns
        return clocks(self._local(occurrence), self.zone).first * 10**9

    def next_after(self, now_ns: int, begin: int = 1) -> int:
        """The first occurrence from `begin` on that is due after `now_ns`; `times` + 1: none."""
        rest = range(begin, self.times + 1)
        return begin + bisect.bisect_right(rest, now_ns, key=self.due_ns)

    def check(self, now_ns: int) -> None:
        """That it may be scheduled now. Raises Invalid."""
        field = "schedule.at" if self.local is None else "schedule.local_time"
        first_ns, end_ns = self.due_ns(1), now_ns + AHEAD_MAX_DAYS * _DAY_NS
        if first_ns <= now_ns:
            raise Invalid(
                f"{field}: {said(first_ns)} is past, it is {said(now_ns)}; leave the schedule unset to send "
                "it now"
            )
        if first_ns > end_ns:
            raise Invalid(
                f"{field}: is {said(first_ns)}; at most {AHEAD_MAX_DAYS} days ahead are allowed, which is up "
                f"to {said(end_ns)}"
            )
        if (last_ns := self.due_ns(self.times)) > end_ns:
            room = self.next_after(end_ns) - 1
            raise Invalid(
                f"schedule.repeat: the last of {self.times} occurrences would be due {said(last_ns)}; at "
                f"most {AHEAD_MAX_DAYS} days ahead are allowed, ask for at most {room} times"
                if room > 1
                else f"schedule.repeat: the second occurrence would be due {said(self.due_ns(2))}; at most "
                f"{AHEAD_MAX_DAYS} days ahead are allowed, leave out repeat"
            )

    def _local(self, occurrence: int) -> datetime.datetime:
        assert self.local is not None
        passed = (occurrence - 1) * self.step
        if self.every != "months":
            return self.local + datetime.timedelta(days=passed)
        year, month = divmod(self.local.year * 12 + self.local.month - 1 + passed, 12)
        day = min(self.local.day, monthrange(year, month + 1)[1])
        return self.local.replace(year=year, month=month + 1, day=day)


def plan_of(schedule: Schedule) -> Plan:
    """Raises Invalid for what is no schedule at any time; when it is due says `Plan.check`."""
    if schedule.HasField("at") == bool(schedule.local_time):
        raise Invalid("schedule: set one of at and local_time; leave the schedule unset to send it now")
    if schedule.HasField("at"):
        if schedule.time_zone or schedule.HasField("repeat"):
            field = "time_zone" if schedule.time_zone else "repeat"
            raise Invalid(f"schedule.{field}: goes with local_time; give that in the place of at")
        return Plan(1, at_ns=nanoseconds(schedule.at))
    zone = zone_of("schedule.time_zone", schedule.time_zone)
    local = _parsed(schedule.local_time)
    if not schedule.HasField("repeat"):
        _refuse_change(schedule.local_time, local, zone)
        return Plan(1, local=local, zone=zone)
    every, step = _every(schedule.repeat)
    times = schedule.repeat.times
    if not 2 <= times <= TIMES_MAX:
        raise Invalid(f"schedule.repeat.times: is {times}; 2 to {TIMES_MAX} are allowed")
    if local.year + times * EVERY_MAX["months"] // 12 > 9_000:
        raise Invalid(
            f"schedule.local_time: is {schedule.local_time}; at most {AHEAD_MAX_DAYS} days ahead are allowed"
        )
    return Plan(times, local=local, zone=zone, every=every, step=step)


def clocks(local: datetime.datetime, zone: ZoneInfo) -> Clocks:
    """What is due at a local time, given without a zone in whole seconds."""
    first, second = (int(local.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if first <= second:
        return Clocks(first, second if second > first else None)
    # A gap. The change is the first second with the offset that holds after it.
    after = local.replace(tzinfo=zone, fold=1).utcoffset()
    assert after is not None
    change = (
        second
        + 1
        + bisect.bisect_left(range(second + 1, first), True, key=lambda s: _at(s, zone).utcoffset() == after)
    )
    begin, end = (_at(s, zone).replace(tzinfo=None) for s in (change - 1, change))
    return Clocks(change, skipped=(begin + datetime.timedelta(seconds=1), end))


def nanoseconds(time: Timestamp) -> int:
    return time.seconds * 10**9 + time.nanos


def said(ns: int) -> str:
    """A moment for a person, whatever it is."""
    try:
        return f"{_EPOCH + datetime.timedelta(seconds=ns // 10**9):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return f"{ns // 10**9} s since 1970"


_EPOCH = datetime.datetime(1970, 1, 1)


def _at(second: int, zone: ZoneInfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, zone)


def _parsed(text: str) -> datetime.datetime:
    local = None
    if _LOCAL.match(text):
        with contextlib.suppress(ValueError):
            local = datetime.datetime.fromisoformat(text)
    if local is None or not 1970 < local.year < 9999:
        raise Invalid(
            f"schedule.local_time: {shown(text)} is no local time of 1971 to 9998; give one such as "
            '"2026-12-24T20:00"'
        )
    return local


def _every(repeat: Repeat) -> tuple[str, int]:
    every = repeat.WhichOneof("every")
    if every is None:
        raise Invalid("schedule.repeat: says no interval; set days, weeks or months")
    step: int = getattr(repeat, every)
    if not 1 <= step <= EVERY_MAX[every]:
        raise Invalid(f"schedule.repeat.{every}: is {step}; 1 to {EVERY_MAX[every]} are allowed")
    return every, step * 7 if every == "weeks" else step


def _refuse_change(text: str, local: datetime.datetime, zone: ZoneInfo) -> None:
    found = clocks(local, zone)
    if found.skipped is not None:
        begin, end = (f"{each:%Y-%m-%dT%H:%M:%S}" for each in found.skipped)
        raise Invalid(
            f"schedule.local_time: {text} is never in {zone.key}, where clocks go on from {begin} to {end}; "
            f'give "{end}" or later, or a time before {begin}'
        )
    if found.second is not None:
        first, second = (said(each * 10**9) for each in (found.first, found.second))
        raise Invalid(
            f"schedule.local_time: {text} is twice in {zone.key}, where clocks go back: at {first} and at "
            f"{second}; give the one you mean as schedule.at"
        )
