"""What polls, boards and games share: how long they are open, and when they end."""

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
    return f" until {_clock(definition.closes_at)}" if definition.HasField("closes_at") else ""


def at(definition: Any) -> str:
    return f" at {_clock(definition.closes_at)}" if definition.HasField("closes_at") else ""


def ended_at(game: Any) -> str:
    return f" at {_clock(game.ended_at)}" if game.HasField("ended_at") else ""


def _clock(moment: Any) -> str:
    from datetime import UTC

    return str(moment.ToDatetime(UTC).astimezone().strftime("%H:%M:%S"))
