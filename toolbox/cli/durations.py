"""Moments and durations of options and answers: how long something is open, and when it is due or ends."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

import typer

from toolbox.cli.rpc import seconds_of
from toolbox.local.errors import MeshError

ForOption = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="DURATION", help="Open for this long, 1s to 24h.", show_default="until closed"
    ),
]


def limit(definition: Any, open_for: str | None) -> None:
    if open_for is not None:
        definition.open_for.FromNanoseconds(int(seconds_of(open_for) * 1e9))


def until(definition: Any) -> str:
    return f" until {_clock(definition.closes_at)}" if definition.HasField("closes_at") else ""


def at(definition: Any) -> str:
    return f" at {_clock(definition.closes_at)}" if definition.HasField("closes_at") else ""


def ended_at(game: Any) -> str:
    return f" at {_clock(game.ended_at)}" if game.HasField("ended_at") else ""


def moment(option: str, text: str) -> datetime:
    """A moment by this machine's clock, and of today where no day is named. Raises MeshError."""
    try:
        if "T" in text or " " in text:
            return datetime.fromisoformat(text).astimezone()
        return datetime.combine(datetime.now().astimezone().date(), time.fromisoformat(text)).astimezone()
    except ValueError:
        raise MeshError(
            f"{option} {text!r} is no time; give for example 2026-11-21T00:00, or 00:00"
        ) from None


def day_and_clock(timestamp: Any) -> str:
    """By this machine's clock."""
    return str(timestamp.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"))


def _clock(timestamp: Any) -> str:
    return str(timestamp.ToDatetime(UTC).astimezone().strftime("%H:%M:%S"))
