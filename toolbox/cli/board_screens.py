"""A leaderboard in a terminal: who leads, which season it is, and one actor's place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grandstand.aggregate.v1.aggregate_pb2 import (
    BoardEntry,
    BoardResult,
    PastSeason,
    ReadStandingResponse,
    SeasonSpan,
)

_PAST_SHOWN = 3


def board_parts(board: BoardResult) -> list[RenderableType]:
    """The ranks, and below them whose they are and what became of the season before."""
    notes = [_with_a_score(board.actors)]
    if board.HasField("season"):
        notes.append(f"season {board.season.number} until {_moment(board.season)}")
    parts: list[RenderableType] = [ranks(board.entries), Text(", ".join(notes), style="dim")]
    if board.HasField("previous"):
        parts.append(_past(board.previous))
    return [*parts, Text()]


def ranks(entries: Iterable[BoardEntry], actor: str = "") -> Table:
    """`actor`'s own line stands out."""
    table = Table.grid(padding=(0, 2))
    for entry in entries:
        style = "bold" if entry.actor_id == actor else ""
        table.add_row(
            Text(f"{entry.rank:,}", justify="right", style=style),
            Text(entry.name or entry.actor_id, style=style),
            Text(f"{entry.points:,}", justify="right", style=style),
        )
    return table


def standing(title: str, actor: str, found: ReadStandingResponse) -> RenderableType:
    """An actor's place among its neighbours."""
    notes = [_with_a_score(found.actors)]
    if found.HasField("season"):
        notes.append(f"season {found.season.number} until {_moment(found.season)}")
    if not found.HasField("standing"):
        return Text(f"{actor} has no score on {title} ({', '.join(notes)}).")
    place = f"{actor} is number {found.standing.rank:,} of {found.actors:,}"
    return Group(
        Text.assemble((title, "bold"), f"  {place}"),
        ranks(found.neighbours, actor),
        Text(", ".join(notes), style="dim"),
    )


def _past(past: PastSeason) -> Text:
    if not past.entries:
        return Text(f"season {past.season.number}: nobody scored", style="dim")
    best = ", ".join(
        f"{entry.rank}. {entry.name or entry.actor_id} {entry.points:,}"
        for entry in past.entries[:_PAST_SHOWN]
    )
    state = "" if past.sealed else ", still coming in"
    return Text(f"season {past.season.number}: {best} ({_with_a_score(past.actors)}{state})", style="dim")


def _with_a_score(actors: int) -> str:
    return f"{actors:,} with a score"


def _moment(season: SeasonSpan) -> str:
    """The season's end by this machine's clock, with the day where that is not today."""
    ends = season.ends_at.ToDatetime(UTC).astimezone()
    near = abs(ends - datetime.now(UTC).astimezone()) < timedelta(hours=20)
    return ends.strftime("%H:%M:%S" if near else "%Y-%m-%d %H:%M")
