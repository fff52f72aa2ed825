"""tap: a game's frames, as they pass."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from toolbox.cli.console import say
from toolbox.cli.credentials import TokenOption
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import JsonOption, run_rpc
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.client import Token


def register(app: typer.Typer) -> None:
    app.command()(tap)


def tap(
    game: Annotated[str, typer.Argument(metavar="GAME", help="Whose frames.")],
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="Such as poll/mvp, or 'poll/*'.", show_default="all")
    ] = "*",
    mesh: Annotated[
        str | None,
        typer.Option(
            "--mesh",
            metavar="URL",
            help="An edge or a mesh listener, such as https://live.example.com.",
            show_default="the mesh of this machine",
        ),
    ] = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch a game's frames as viewers get them, a line for each topic: time, full or delta, size, state.

    On a pipe each line is a JSON object. It goes on through restarts and ends with the game; Ctrl-C ends it.

    Example: ./grandstand tap demo 'poll/*'
    """
    address = mesh if mesh is not None else running_mesh(home).edge
    with contextlib.suppress(KeyboardInterrupt):
        run_rpc(_tap(address, game, topic, token, as_json=as_json or not sys.stdout.isatty()))


async def _tap(address: str, game: str, topic: str, token: Token | None, *, as_json: bool) -> None:
    """Raises ClientError for what is refused, MeshError for an address that is none."""
    from grandstand.client import Viewer, open_channel
    from toolbox.cli.tap_lines import ended_line, tap_lines

    try:
        channel = open_channel(address)
    except ValueError as error:
        raise MeshError(str(error)) from None
    async with channel:
        viewer, resumed = Viewer(channel, game, topics=[topic], token=token), 0
        async for message in viewer:
            if viewer.resumed != resumed:
                resumed = viewer.resumed
                say("another stream took over; nothing is shown twice or goes back")
            for line in tap_lines(message, viewer.states):
                print(line.json() if as_json else line, flush=True)
        if viewer.ended_at is not None:
            say(ended_line(game, viewer.ended_at))
