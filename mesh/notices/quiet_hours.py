"""When an actor wants to be left alone. Pure.

A moment is quiet if the clock in the actor's time zone then shows a time between the two. So where a clock
change skips the end, it is quiet until the clock goes on, and where it repeats it, quiet hours may end twice.
"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo

from grandstand.notify.v1.notify_pb2 import QuietHours
from grandstand.wire.errors import Invalid, shown
from mesh.notices.time_zones import zone_of

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Quiet:
    """From the one time of day on, up to the other; not the same."""

    begin: datetime.time
    end: datetime.time
    zone: ZoneInfo

    LONGEST_S: ClassVar[float] = 3 * 86_400.0
    """No quiet hours are longer, whatever a clock change makes of them."""

    def until_s(self, at_s: float) -> float | None:
        """The end of the quiet hours that `at_s` falls into, both Unix seconds; None if it falls into
        none."""
        if not self._is_quiet(at_s):
            return None
        day = datetime.datetime.fromtimestamp(at_s, self.zone).date()
        ends = (end_s for days in range(3) for end_s in self._ends_s(day + days * _DAY))
        return min(end_s for end_s in ends if end_s > at_s and not self._is_quiet(end_s))

    def _is_quiet(self, at_s: float) -> bool:
        clock = datetime.datetime.fromtimestamp(at_s, self.zone).time()
        if self.begin < self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end

    def _ends_s(self, day: datetime.date) -> Iterator[float]:
        """The moments at which the clock shows the end on that day, or goes on over it."""
        first = datetime.datetime.combine(day, self.end, self.zone)
        first_s, second_s = first.timestamp(), first.replace(fold=1).timestamp()
        yield first_s
        if second_s > first_s:
            yield second_s
        elif second_s < first_s:  # skipped: the one is as far beyond the change as the other is before it
            yield self._change_s(int(second_s), int(first_s))

    def _change_s(self, before_s: int, after_s: int) -> float:
        def offset(at_s: int) -> datetime.timedelta:
            found = datetime.datetime.fromtimestamp(at_s, self.zone).utcoffset()
            assert found is not None
            return found

        was = offset(before_s)
        return before_s + bisect_left(range(before_s, after_s), True, key=lambda at_s: offset(at_s) != was)


@lru_cache(16_384)
def quiet_until_s(quiet: Quiet, at_s: float) -> float:
    """`until_s`, and 0 for None: it is asked of the same few notices for each reader."""
    return quiet.until_s(at_s) or 0.0


def checked(hours: QuietHours) -> Quiet:
    """Raises Invalid."""
    begin = _time("quiet_hours.from", getattr(hours, "from"))
    end = _time("quiet_hours.until", hours.until)
    if begin == end:
        raise Invalid(f"quiet_hours.until: {shown(hours.until)} is the same as from; leave quiet_hours unset")
    return Quiet(begin, end, zone_of("quiet_hours.time_zone", hours.time_zone))


def quiet_of(hours: QuietHours) -> Quiet | None:
    """Of what was found well. None where this machine does not know the time zone: rather told than not."""
    try:
        return checked(hours)
    except Invalid:
        return None


def _time(field: str, value: str) -> datetime.time:
    found = _TIME.match(value)
    if found is None:
        raise Invalid(f"{field}: {shown(value)} is no time of day such as 22:00, 00:00 to 23:59")
    return datetime.time(int(found[1]), int(found[2]))
