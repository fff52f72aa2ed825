"""game list, poll list, board list, token revocations: what is defined and what is revoked, page by page."""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, operating, owning
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, as_dict, counted, on_mesh
from toolbox.local.running import running_mesh


class StageChoice(enum.StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    FINAL = "final"


_STAGES = {
    StageChoice.OPEN: "STAGE_OPEN",
    StageChoice.CLOSED: "STAGE_CLOSED",
    StageChoice.FINAL: "STAGE_SEALED",
}

StageOption = Annotated[
    StageChoice | None, typer.Option("--stage", help="Only those of this stage.", show_default="all")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="List at most this many.")]
ManyJsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]


def list_games(
    stage: StageOption = None,
    limit: LimitOption = 100,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Also those whose id begins with _, such as the canary's.")
    ] = False,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: ManyJsonOption = False,
) -> None:
    """List the games that the token opens, by their ids.

    Example: ./grandstand game list --stage open --limit 500
    """
    from toolbox.cli.views import games_table

    address, shown = running_mesh(home).mesh, owning(token, home)
    found = _some(address, lambda backend: backend.list_games(_stage(stage), hidden=hidden), limit, shown)
    _print(found, limit, "game", as_json, games_table)


def list_polls(
    game: GameOption = "demo",
    stage: StageOption = None,
    limit: LimitOption = 100,
    home: HomeOption = None,
    as_json: ManyJsonOption = False,
) -> None:
    """List a game's polls, the newest first.

    Example: ./grandstand poll list --game final --stage open
    """
    from toolbox.cli.views import topics_table

    found = _some(running_mesh(home).edge, lambda backend: backend.list_polls(game, _stage(stage)), limit)
    _print(found, limit, "poll", as_json, topics_table)


def list_boards(
    game: GameOption = "demo",
    stage: StageOption = None,
    limit: LimitOption = 100,
    home: HomeOption = None,
    as_json: ManyJsonOption = False,
) -> None:
    """List a game's boards, the newest first.

    Example: ./grandstand board list --game final --stage final --json
    """
    from toolbox.cli.views import topics_table

    found = _some(running_mesh(home).edge, lambda backend: backend.list_boards(game, _stage(stage)), limit)
    _print(found, limit, "board", as_json, topics_table)


def list_revocations(
    limit: LimitOption = 100,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: ManyJsonOption = False,
) -> None:
    """List what is revoked now.

    Example: ./grandstand token revocations --limit 1000
    """
    from toolbox.cli.views import revocations_table

    address, shown = running_mesh(home).mesh, operating(token, home)
    found = _some(address, lambda backend: backend.list_revocations(), limit, shown)
    _print(found, limit, "revocation", as_json, revocations_table)


def _stage(choice: StageChoice | None) -> Any:
    from grandstand.catalog.v1.catalog_pb2 import Stage

    return Stage.Value(_STAGES[choice]) if choice else 0


def _some(
    address: str, listed: Callable[[Any], AsyncIterator[Any]], limit: int, token: Any = None
) -> list[Any]:
    """At most one more than `limit`."""

    async def take(backend: Any) -> list[Any]:
        found: list[Any] = []
        async for each in listed(backend):
            found.append(each)
            if len(found) > limit:
                break
        return found

    taken: list[Any] = on_mesh(address, take, token)
    return taken


def _print(found: list[Any], limit: int, noun: str, as_json: bool, table: Callable[[list[Any]], Any]) -> None:
    from rich.console import Console

    if as_json:
        for each in found[:limit]:
            print(json.dumps(as_dict(each)))
        return
    console = Console(highlight=False)
    if found:
        console.print(table(found[:limit]))
    more = f", and there are more: raise --limit {limit}" if len(found) > limit else ""
    console.print(f"{counted(min(len(found), limit), noun)}{more}", style="dim", markup=False)
