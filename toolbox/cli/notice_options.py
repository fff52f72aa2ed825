"""Notices as options say them: to whom, and when."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from toolbox.cli.durations import moment
from toolbox.cli.rpc import seconds_of
from toolbox.local.errors import MeshError, from_os

if TYPE_CHECKING:
    from grandstand.notify.v1.notify_pb2 import Schedule

ACTORS_MAX = 100_000
"""What one call may name."""
_EVERY = re.compile(r"([0-9]{1,4})(d|w|mo)\Z")
_UNITS = {"d": "days", "w": "weeks", "mo": "months"}


def schedule(
    at: str | None, zone: str | None, every: str | None, times: int | None, now: datetime
) -> Schedule | None:
    """When the options of these names say that a notice is due; None: now. Raises MeshError."""
    from grandstand.notify.v1.notify_pb2 import Schedule

    if at is None:
        for option, value in (("--zone", zone), ("--every", every), ("--times", times)):
            if value is not None:
                raise MeshError(f"{option} {value} says when it is due again; give --at too, such as 20:00")
        return None
    if zone is None:
        for option, value in (("--every", every), ("--times", times)):
            if value is not None:
                raise MeshError(
                    f"{option} {value}: name the clock that it goes by, such as --zone Europe/Berlin"
                )
        due = Schedule()
        if at.startswith("+"):
            due.at.FromDatetime(now + timedelta(seconds=seconds_of(at[1:])))
        else:
            due.at.FromDatetime(moment("--at", at))
        return due
    if at.startswith("+"):
        raise MeshError(
            f"--at {at} is the same in every zone; leave out --zone, or give a time of its clocks"
        )
    due = Schedule(local_time=at.replace(" ", "T"), time_zone=zone)
    if every is None:
        if times is not None:
            raise MeshError(f"--times {times}: say how often, such as --every 1w")
        return due
    found = _EVERY.match(every)
    if not found:
        raise MeshError(f"--every {every!r} is no interval; give for example 1d, 2w or 1mo")
    if times is None:
        raise MeshError(f"--every {every}: say how often in all, such as --times 10")
    setattr(due.repeat, _UNITS[found[2]], int(found[1]))
    due.repeat.times = times
    return due


def read_actors(option: str, file: str) -> list[str]:
    """The actors in a file, or of standard input ("-"), one a line. Raises MeshError."""
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except OSError as error:
        raise from_os(error, f"read {file}") from None
    except UnicodeDecodeError as error:
        raise MeshError(f"{option} {file} is no UTF-8: {error}") from None
    actors = [actor for line in text.split("\n") if (actor := line.rstrip("\r"))]
    if not 1 <= len(actors) <= ACTORS_MAX:
        raise MeshError(f"{option} {file} names {len(actors):,} actors; 1 to {ACTORS_MAX:,} are allowed")
    return actors


def only_one(**chosen: bool) -> str:
    """The name of the one option that is chosen. Raises MeshError unless there is exactly one."""
    names = [name for name, is_chosen in chosen.items() if is_chosen]
    if len(names) != 1:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        given = f"; given are {', '.join(f'--{name}' for name in names)}".replace("_", "-") if names else ""
        raise MeshError(f"say to whom: one of {listed}{given}")
    return names[0]
