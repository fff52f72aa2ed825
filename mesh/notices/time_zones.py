"""Time zones by their names in the IANA database. Pure, but for reading that database."""

from __future__ import annotations

import zoneinfo
from functools import cache

from grandstand.wire.errors import Invalid, shown

_NO_PLACES = {"localtime", "Factory"}
"""Named so in some databases, and different on each machine, or nowhere."""


def zone_of(field: str, name: str) -> zoneinfo.ZoneInfo:
    """Raises Invalid."""
    if name in _names():
        return zoneinfo.ZoneInfo(name)
    if not name:
        raise Invalid(f"{field}: is empty; name a time zone of the IANA database, such as Europe/Berlin")
    raise Invalid(f"{field}: {shown(name)} is no time zone of the IANA database, such as Europe/Berlin")


@cache
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - _NO_PLACES)
