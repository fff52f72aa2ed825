"""simulate, replay: many events into a running mesh."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, acting, owning
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, run_rpc
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

EdgeOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Another edge.", show_default="the mesh of --home")
]
MeshOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Its mesh listener.", show_default="the mesh of --home"),
]
SummaryOption = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object, the last line.")
]


def register(app: typer.Typer) -> None:
    app.command()(simulate)
    app.command()(replay)


def simulate(
    viewers: Annotated[
        int, typer.Option("--viewers", "-v", min=1, max=18_000, help="Open subscriptions.")
    ] = 20,
    rate: Annotated[float, typer.Option("--rate", "-r", min=0, max=100_000, help="Votes a second.")] = 20.0,
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", min=0, help="For how long; 0: until Ctrl-C.")
    ] = 30.0,
    mix: Annotated[
        str,
        typer.Option(metavar="R:S", help="Reactions and scores for each vote, such as 0.5:0.1."),
    ] = "0.1:0.1",
    seed: Annotated[int, typer.Option(help="Of the crowd's choices.")] = 0,
    edge: EdgeOption = None,
    mesh: MeshOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: SummaryOption = False,
) -> None:
    """Let a crowd of bots vote, watch and score, and prove that every acked vote was counted once.

    Ends non-zero when a vote was lost or counted twice. Any service may be killed meanwhile.

    Example: ./grandstand simulate --viewers 200 --rate 500 --seconds 30
    """
    from toolbox.cli.load_screens import SimulationScreen
    from toolbox.load.account import LoadPlan
    from toolbox.load.simulate import Simulation

    if not (edge and mesh):
        at = running_mesh(home)
        edge, mesh = edge or at.edge, mesh or at.mesh
    reactions, scores = _shares(mix)
    plan = LoadPlan(edge, mesh, game, viewers, rate, seconds, reactions, scores, seed)
    owner = owning(token, home)

    async def run() -> Any:
        with SimulationScreen(plan) as screen:
            simulation = Simulation(plan, screen.show, token=owner)
            with interrupting(simulation.stop):
                return await simulation.run()

    summary = run_rpc(run())
    if not as_json:
        SimulationScreen.conclude(summary)
    else:
        for problem in summary.problems:
            print(problem, file=sys.stderr)
        print(json.dumps(summary.as_json()))
    if not summary.ok:
        raise typer.Exit(1)


def replay(
    file: Annotated[str, typer.Argument(help="A recording, gzipped or not; - is standard input.")],
    speed: Annotated[
        float, typer.Option(min=0, max=1_000_000, help="1: as recorded; 10: ten times as fast; 0: at once.")
    ] = 1.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="End non-zero for any bad or refused line.")
    ] = False,
    edge: EdgeOption = None,
    game: Annotated[
        str, typer.Option("--game", metavar="ID", help="Send all to this game.", show_default="as recorded")
    ] = "",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: SummaryOption = False,
) -> None:
    """Publish recorded events.

    A recording is JSON lines such as
    {"at": "2026-11-20T19:00:00.250Z", "event": {"gameId": "demo", "actorId": "ana", "vote": {...}}}

    A bad line is reported with its number, and the replay goes on.

    Example: ./grandstand replay examples/final.jsonl.gz --speed 10
    """
    from toolbox.cli.load_screens import ReplayScreen
    from toolbox.load.replay import Replay

    edge = edge or running_mesh(home).edge
    producer = acting(token, home)

    async def run() -> Any:
        with ReplayScreen(file) as screen:
            replaying = Replay(
                file,
                edge,
                speed=speed,
                game_id=game,
                complain=screen.complain,
                token=producer,
                on_progress=screen.show,
            )
            with interrupting(replaying.stop):
                return await replaying.run()

    summary = run_rpc(run())
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        ReplayScreen.conclude(summary)
    if summary.ended:
        raise MeshError(f"{file}: {summary.ended}")
    if not summary.acked:
        raise MeshError(f"{file}: of its {summary.lines} lines none could be sent")
    if strict and (summary.bad or summary.refused or summary.unsettled):
        raise typer.Exit(1)


@contextlib.contextmanager
def interrupting(stop: asyncio.Event) -> Iterator[None]:
    """Within, the first Ctrl-C or SIGTERM sets `stop`; the next one ends the process as usual."""
    loop = asyncio.get_running_loop()

    def release() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def once() -> None:
        stop.set()
        release()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, once)
    try:
        yield
    finally:
        release()


def _shares(mix: str) -> tuple[float, float]:
    try:
        reactions, scores = (float(part) for part in mix.split(":"))
    except ValueError:
        raise MeshError(f"--mix {mix!r} is not of the form R:S such as 0.5:0.1") from None
    if not (0 <= reactions <= 100 and 0 <= scores <= 100):
        raise MeshError(f"--mix {mix!r}: each share is 0 to 100")
    return reactions, scores
