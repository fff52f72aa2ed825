"""top: the mesh at a glance, each second."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolbox.cli.console import say
from toolbox.cli.credentials import TokenOption, overseeing
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import JsonOption, as_dict
from toolbox.local.errors import MeshError

if TYPE_CHECKING:
    from grandstand.operator.v1.operator_pb2 import Overview
    from toolbox.local.overviews import Overviews

_EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    app.command()(top)


def top(
    mesh: Annotated[
        str | None,
        typer.Option(
            "--mesh",
            metavar="URL",
            help="A mesh listener, such as http://10.0.0.7:8081; wants an operator's token.",
            show_default="the mesh of this machine",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch services, rates, lag, viewers, freshness, the hottest games and overload; Ctrl-C ends it.

    Example: ./grandstand top
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_top(mesh, home, token, once=once, as_json=as_json))


async def _top(mesh: str | None, home: Path | None, token: str | None, *, once: bool, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from toolbox.cli.overview_screen import overview_screen

    console = Console(highlight=False)
    async with _source(mesh, home, token) as source:
        # An error at once is one to end with; rates are known from the second time on.
        view, problem = await source.overview(), ""
        if once:
            await asyncio.sleep(_EVERY_S)
            view = await source.overview()
        with contextlib.ExitStack() as stack:
            live = None
            if console.is_terminal and not (as_json or once):
                live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
            while True:
                if live is not None:
                    live.update(overview_screen(view, problem), refresh=True)
                elif problem:
                    say(problem)
                elif as_json:
                    print(json.dumps(as_dict(view)), flush=True)
                else:
                    console.print(overview_screen(view))
                if once:
                    return
                await asyncio.sleep(_EVERY_S)
                view, problem = await _again(source, view)


async def _again(source: Overviews, last: Overview) -> tuple[Overview, str]:
    try:
        return await source.overview(), ""
    except MeshError as error:
        return last, str(error)


@contextlib.asynccontextmanager
async def _source(mesh: str | None, home: Path | None, token: str | None) -> AsyncIterator[Overviews]:
    from grandstand.client import open_channel
    from toolbox.local.overviews import LocalOverviews, RemoteOverviews

    if mesh is None:
        yield LocalOverviews(home)
        return
    try:
        channel = open_channel(mesh)
    except ValueError as error:
        raise MeshError(str(error)) from None
    async with channel:
        yield RemoteOverviews(channel, overseeing(token, home))
