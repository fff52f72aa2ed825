"""notify tail: what is sent and which rules fire, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli.console import say
from toolbox.cli.credentials import TokenOption, owning
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import as_dict, run_rpc
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.client import Token

_AGAIN_S = 1.0


def tail(
    game: Annotated[
        str,
        typer.Option("--game", metavar="ID", help="Of this game.", show_default="all that the token opens"),
    ] = "",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, for programs.")
    ] = False,
) -> None:
    """Watch what is sent, what falls due and which rules fire; Ctrl-C ends it.

    What happens while the mesh is away is missed.

    Example: ./grandstand notify tail --game final
    """
    with contextlib.suppress(KeyboardInterrupt):
        run_rpc(_tail(running_mesh(home).mesh, owning(token, home), game, as_json))


async def _tail(address: str, token: Token, game: str, as_json: bool) -> None:
    """Raises ClientError for what is refused."""
    import grpc

    from grandstand.client import ClientError, Notices, open_channel

    async with open_channel(address) as channel:
        notices = Notices(channel, token=token)
        was_cut = False
        while True:
            try:
                async for told in notices.tail(game):
                    _show(told, as_json)
                    was_cut = False
            except ClientError as error:
                if error.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
                    raise
            if not was_cut:
                say("the stream was cut; going on, without what happens meanwhile")
                was_cut = True
            await asyncio.sleep(_AGAIN_S)


def _show(told: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(as_dict(told)), flush=True)
        return
    from toolbox.cli.notice_screens import told_line

    print(told_line(told), flush=True)
