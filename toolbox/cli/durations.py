"""What polls and boards share: how long they are open."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolbox.cli.rpc import seconds_of

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
    return f" until {_clock(definition)}" if definition.HasField("closes_at") else ""


def at(definition: Any) -> str:
    return f" at {_clock(definition)}" if definition.HasField("closes_at") else ""


def _clock(definition: Any) -> str:
    from datetime import UTC

    return str(definition.closes_at.ToDatetime(UTC).astimezone().strftime("%H:%M:%S"))
