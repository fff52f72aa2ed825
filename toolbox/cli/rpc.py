"""How a command speaks with a running mesh: one event loop, and errors of the client as one line."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from toolbox.local.errors import MeshError

if TYPE_CHECKING:
    from grandstand.client import Token

T = TypeVar("T")

GameOption = Annotated[str, typer.Option("--game", metavar="ID", help="The game.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?\Z")
_UNIT_S = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def run_rpc(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end. Raises MeshError with the code and message for what the mesh refuses."""
    from grandstand.client import ClientError

    try:
        return asyncio.run(work)
    except ClientError as error:
        raise MeshError(str(error)) from None


def on_mesh(address: str, work: Any, token: Token | None = None) -> Any:
    """Runs the coroutine function `work` with a Backend on `address`; returns what it returns."""

    async def call() -> Any:
        from grandstand.client import Backend, open_channel

        async with open_channel(address) as channel:
            return await work(Backend(channel, token=token))

    return run_rpc(call())


def on_notices(address: str, work: Any, token: Token | None = None) -> Any:
    """As `on_mesh`, with Notices."""

    async def call() -> Any:
        from grandstand.client import Notices, open_channel

        async with open_channel(address) as channel:
            return await work(Notices(channel, token=token))

    return run_rpc(call())


def seconds_of(text: str) -> float:
    """90, 90s, 2m, 1h, 7d as seconds. Raises MeshError."""
    found = _DURATION.match(text)
    if not found:
        raise MeshError(f"{text!r} is no duration; give for example 90s, 2m, 1h or 7d")
    return float(found[1]) * _UNIT_S[found[2]]


def default_actor() -> str:
    """Who acts when nobody is named: the user of this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "me"
    return "cli-" + re.sub(r"[^A-Za-z0-9_-]", "-", name)[:40]


def as_dict(message: Any) -> dict[str, Any]:
    """A proto message in its JSON form."""
    from google.protobuf import json_format

    return json_format.MessageToDict(message)


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 voter, 2,000 voters."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_message(message: Any, as_json: bool, human: Any) -> None:
    """Prints an answer: as JSON, or `human`, a line or what rich can render."""
    if as_json:
        print(json.dumps(as_dict(message)))
        return
    from rich.console import Console

    Console(highlight=False).print(human, soft_wrap=isinstance(human, str), markup=False)
