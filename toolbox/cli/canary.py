"""canary, incidents: the service level, measured from here now; and when it broke."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, reading_as
from toolbox.cli.home import HomeOption
from toolbox.cli.load import interrupting
from toolbox.cli.rpc import JsonOption, run_rpc
from toolbox.local import canary_page
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh, running_status

if TYPE_CHECKING:
    from grandstand.catalog.v1.catalog_pb2 import Poll
    from grandstand.client import Token
    from mesh.canary.measured_here import Measured

_PATIENCE_S = 1.0
MISSED = 3
"""How `canary` ends when an objective is missed."""


def register(app: typer.Typer) -> None:
    app.command()(canary)
    app.command()(incidents)


def canary(
    edge: Annotated[
        str | None, typer.Option(metavar="URL", help="The edge.", show_default="the mesh of --home")
    ] = None,
    game: Annotated[
        str | None,
        typer.Option(
            "--game",
            metavar="ID",
            help="A game with an open, changeable poll whose id begins with freshness.",
            show_default="that of the mesh's own canary",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", min=1, help="For how long; Ctrl-C ends it earlier.")
    ] = 30.0,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may have signed the edge's certificate, PEM.", exists=True),
    ] = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Vote once a second, and measure how soon the votes are on screens.

    Ends with 3 if an objective is missed: 99.9 % within 300 ms, 99.99 % acked.

    Example: ./grandstand canary --edge https://votes.example --token "$JWT"
    """
    at = edge or running_mesh(home).edge
    try:
        found = run_rpc(_measure(at, game, seconds, reading_as(None, token, home), ca, show=not as_json))
    except ValueError as error:
        raise MeshError(f"--edge: {error}") from None
    if as_json:
        print(json.dumps({"edge": at, **found.as_json()}))
    else:
        print(found.text())
    if not found.is_met:
        raise typer.Exit(MISSED)


async def _measure(
    edge: str, game: str | None, seconds: float, token: Token, ca: Path | None, *, show: bool
) -> Measured:
    from grandstand.client import open_channel
    from mesh.canary.measured_here import measure

    def progress(measured: Measured) -> None:
        if show and sys.stderr.isatty():
            sys.stderr.write(f"\r{measured.progress()} \x1b[K")
            sys.stderr.flush()

    trusted_ca = await asyncio.to_thread(ca.read_bytes) if ca else None
    async with open_channel(edge, own_connection=True, trusted_ca=trusted_ca) as channel:
        poll = await _poll(channel, edge, game, token)
        stop = asyncio.Event()
        try:
            with interrupting(stop):
                return await measure(channel, poll, token, seconds, progress, stop)
        finally:
            if show and sys.stderr.isatty():
                sys.stderr.write("\r\x1b[K")


async def _poll(channel: Any, edge: str, game: str | None, token: Token) -> Poll:
    import grpc

    from grandstand.client import Backend, ClientError
    from mesh.canary.hidden_game import GAME_IDS, POLL, find

    try:
        poll = await find(Backend(channel, token=token, patience_s=_PATIENCE_S), [game] if game else GAME_IDS)
    except ClientError as error:
        if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise MeshError(f"cannot reach the edge at {edge}: {error.message}") from None
        raise
    if poll is None:
        raise MeshError(
            f"there is no poll to vote in at {edge}: the mesh's own canary keeps one, unless it was left out;"
            f" or name, with --game, a game with an open, changeable poll whose id begins with {POLL}"
        )
    return poll


def incidents(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List when votes were not acked or not shown, how soon it was noticed, and how long it took to recover.

    Example: ./grandstand incidents --json
    """
    found = canary_page.read(running_status(home).addresses.metrics)
    if found is None:
        raise MeshError("this mesh runs no canary, which measures incidents: start it without --no-canary")
    if as_json:
        names = ("incidents", "open_incident", "mean_time_to_detect_s", "mean_time_to_recover_s")
        print(json.dumps({name: found[name] for name in (*names, "incidents_unsaved")}))
        return
    _print_incidents(found)


def _print_incidents(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not found["incidents"]:
        console.print("No incident was measured.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("started", "kind", "detected", "no acks", "no frames", "recovered", "reason"):
        table.add_column(heading, justify="right" if heading in _SECONDS else "left")
    for each in found["incidents"]:
        after = each["recovered_after_s"]
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["started_at_s"])),
            each["kind"],
            _seconds(each["detected_after_s"]),
            _seconds(each["without_acks_s"]),
            _seconds(each["without_frames_s"]),
            each["end"] if after is None else _seconds(after),
            each["reason"],
        )
    console.print(table)
    if found["mean_time_to_recover_s"] is not None:
        console.print(
            f"mean time to detect {_seconds(found['mean_time_to_detect_s'])},"
            f" to recover {_seconds(found['mean_time_to_recover_s'])}"
        )
    if found["incidents_unsaved"]:
        console.print(f"{found['incidents_unsaved']} of them wait for NATS to be kept in", style="yellow")


_SECONDS = frozenset({"detected", "no acks", "no frames", "recovered"})


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"
