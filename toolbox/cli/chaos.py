"""chaos: strike a mesh of its own under load, and reckon what was acked against what is counted."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from toolbox.local.errors import MeshError

SECONDS_MIN, SECONDS_MAX = 5, 3600
EVENTS_PER_S, EVENTS_PER_S_GRAY, EVENTS_PER_S_MAX = 300.0, 150.0, 2_000
GAMES_MAX = 1_000


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=False)(chaos)


def chaos(
    seconds: Annotated[
        float, typer.Option(min=SECONDS_MIN, max=SECONDS_MAX, help="How long the load and the strikes last.")
    ] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the strikes and of what clients send.")] = 0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=EVENTS_PER_S_MAX,
            help="Events a second, all clients together.",
            show_default="300; with --gray 150, so that two cores can fold what waited beside what comes",
        ),
    ] = None,
    gray: Annotated[
        bool,
        typer.Option(
            "--gray",
            help="Kill nothing: only what lives and lies, such as full disks, frozen and slow stores, lost"
            " keys, a Redis that fails over, dropped packets and wrong clocks.",
        ),
    ] = False,
    games: Annotated[
        int, typer.Option(min=0, max=GAMES_MAX, help="Games that live and end meanwhile, at a time.")
    ] = 50,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the mesh's home, with its logs.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object, the last line.")
    ] = False,
) -> None:
    """Kill, stop and restart what a mesh is made of while clients send, and prove that every acked event
    was counted once.

    Polls close while ingests and workers are frozen for longer than every grace, results are rebuilt, keys
    are lost, checkpoints are taken, and games end and their ids return, all under load. Beside that, or alone
    with --gray, dependencies live and lie: that must be said by /healthz, and heal by itself within 15 s of
    the end of its cause.

    The mesh is its own: temporary, on free ports, beside any that runs; its NATS is the one of NATS_SERVER.

    Notices are sent, scheduled and fired by rules meanwhile: each must come, and once.

    Ends non-zero when an event was lost or counted twice, a notice did not come or came twice, results went
    back, a fraction of them was shown, something of a forgotten game is left, or something was silently wrong
    or stayed wedged.
    Then the mesh's home is kept, with its logs. Ctrl-C ends the load early.

    Example: ./grandstand chaos --seconds 60 --seed 7
    """
    from toolbox.chaos.report import ChaosPlan, ChaosReport
    from toolbox.chaos.run import ChaosRun
    from toolbox.chaos.stage import own_mesh
    from toolbox.cli.chaos_screen import ChaosScreen

    # That NATS is away is what was wanted.
    logging.getLogger("mesh.jetstream.bus").setLevel(logging.CRITICAL)
    plan = ChaosPlan(seed, seconds, rate or (EVENTS_PER_S_GRAY if gray else EVENTS_PER_S), gray, games)
    folder = Path(tempfile.mkdtemp(prefix="grandstand-chaos-"))
    kept = True
    try:
        with ChaosScreen(plan) as screen, own_mesh(folder / "home") as mesh:

            async def played() -> ChaosReport:
                run = ChaosRun(plan, mesh, screen.show, screen.strike)
                _stop_early(run.stop)
                return await run.run()

            report = asyncio.run(played())
        kept = keep or not report.ok
    except KeyboardInterrupt:
        kept = False
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        ChaosScreen.conclude(report)
    if not report.ok:
        raise MeshError(
            f"chaos{' --gray' if gray else ''} with seed {seed}: {report.lost} lost, {report.doubled}"
            f" doubled, {report.went_back} went back; {report.problems[0]} (logs: {folder / 'home' / 'logs'})"
        )
    if keep:
        print(f"The mesh's home is {folder / 'home'}.", file=sys.stderr)


def _stop_early(stop: asyncio.Event) -> None:
    """The first Ctrl-C or SIGTERM sets `stop`; the next one ends the process as usual."""
    loop = asyncio.get_running_loop()

    def once() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, once)
