"""Thousands of games at once, a poll and a few viewers each: what a game's update costs each service.

The whole path, in a temporary mesh of one service of each kind: votes by a producer's Publish, viewers by
gRPC-Web through Envoy with deltas, each on its own connection. CPU is what the kernel accounts to each
process.

    join      all viewers come at once: until the last of them watches, and how many were turned away
    idle      all watch, nothing happens: CPU of the gateway
    calm      one vote a second in each game: from when a vote was due until a viewer was shown it
    loaded    `--rate` votes a second in each game, evenly: CPU of the gateway (and of Envoy) for an update
              of a game on the screens of its viewers, and of the workers for an update of a topic

The run ends non-zero when a vote was refused, a viewer lost its stream or was shown older counts, or was not
shown the last ones in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from bench._child import BenchChild
from bench._cpu import exact_cpu_s
from bench._games_figures import GamesFigures, GamesTurn, show
from bench._games_votes import OPTIONS, POLL_ID, game_id
from bench._mesh import BenchMesh, temporary_mesh
from bench._say import say, say_nothing
from grandstand.catalog.v1.catalog_pb2 import Game, Poll, PollOption
from grandstand.client import Backend, ClientError, open_channel
from toolbox.cli.console import one_line_errors
from toolbox.local import machine
from toolbox.local.errors import MeshError

CALLERS = 64
NAME = "bench"
_JOIN_PATIENCE_S = 60.0
_OUTRUN_S = 5.0
_LEAD_S = 0.2
_CALM_RATE = 1.0
_DEFINE_PATIENCE_S = 60.0


class GamesBench:
    """One run against one mesh."""

    def __init__(self, mesh: BenchMesh, folder: Path, asked: argparse.Namespace) -> None:
        self._mesh = mesh
        self._folder = folder
        self._asked = asked
        self._votes = 0
        """In each game."""

    def run(self) -> GamesFigures:
        """Raises MeshError."""
        asked = self._asked
        say(f"defining {asked.games} games")
        began_s = time.monotonic()
        asyncio.run(self._define(range(asked.games)))
        defined_s = time.monotonic() - began_s
        voter, viewers = self._voter(), self._viewers()
        try:
            say(f"{asked.games * asked.viewers} viewers come at once")
            joined = json.loads(viewers.ask(f"join {_JOIN_PATIENCE_S}"))
            if joined["missing"]:
                raise MeshError(
                    f"{joined['missing']} viewers were shown nothing within {_JOIN_PATIENCE_S:g} s:"
                    f" {next(iter(joined['errors']), 'no reason was given')}"
                )
            idle = self._idle()
            self._turn(voter, viewers, _CALM_RATE, 1.0)
            calm = self._turn(voter, viewers, _CALM_RATE, asked.seconds)
            loaded = self._turn(voter, viewers, asked.rate, asked.seconds)
        finally:
            viewers.end()
            voter.end()
        return GamesFigures(
            games=asked.games,
            viewers=asked.viewers,
            rate=asked.rate,
            loaded=loaded,
            calm=calm,
            join_s=joined["took_s"],
            join_errors=sum(joined["errors"].values()),
            join_error=next(iter(joined["errors"]), ""),
            idle_gateway_cpu=idle,
            defined_s=defined_s,
        )

    async def _define(self, numbers: Iterable[int]) -> None:
        async with open_channel(self._mesh.addresses.mesh) as channel:
            backend = Backend(channel, token=self._mesh.token, patience_s=_DEFINE_PATIENCE_S)

            async def one(number: int) -> None:
                await backend.define_game(Game(game_id=game_id(NAME, number), title=f"Game {number}"))
                await backend.open_poll(_poll_of(number))

            await _by_callers(numbers, one)

    def _voter(self) -> BenchChild:
        port = self._mesh.addresses.mesh.rpartition(":")[2]
        home = str(self._mesh.home)
        return self._start("voter", "bench._games_votes", port, home, str(self._asked.games), NAME)

    def _viewers(self) -> BenchChild:
        port = self._mesh.addresses.edge.rpartition(":")[2]
        counts = str(self._asked.games), str(self._asked.viewers)
        return self._start("viewers", "bench._games_viewers", port, *counts, NAME)

    def _start(self, name: str, *command: str) -> BenchChild:
        child = BenchChild(name, [sys.executable, "-m", *command], self._folder, talks=True)
        child.until_ready()
        return child

    def _idle(self) -> float:
        """CPU of the gateways while nothing happens, in cores."""
        seconds: float = self._asked.idle_seconds
        say("idle: all watch, nothing happens")
        time.sleep(1.0)
        before = self._cpu_s()
        time.sleep(seconds)
        after = self._cpu_s()
        spent_s = [after[name] - before[name] for name in after if name.startswith("gateway")]
        return sum(spent_s) / seconds

    def _turn(self, voter: BenchChild, viewers: BenchChild, rate: float, seconds: float) -> GamesTurn:
        """Votes at so many a second in each game, until all that is shown is shown. Raises MeshError."""
        games = self._asked.games
        say(f"{rate:g} votes a second in each of {games} games, for {seconds:g} s")
        each = max(1, round(rate * seconds))
        begin_us = time.monotonic_ns() // 1000 + round(1e6 * _LEAD_S)
        viewers.ask(f"begin {self._votes} {begin_us} {rate * games}")
        before, began_s = self._cpu_s(), time.monotonic()
        voted: dict[str, Any] = json.loads(voter.ask(f"vote {rate * games} {each * games} {begin_us}"))
        self._votes += each
        found: dict[str, Any] = json.loads(viewers.ask(f"settle {self._votes} {_OUTRUN_S}"))
        after, took_s = self._cpu_s(), time.monotonic() - began_s
        return GamesTurn(
            games=games,
            viewers=self._asked.viewers,
            votes=each * games,
            rejected=voted["rejected"],
            frames=found["frames"],
            behind=found["behind"],
            seconds=took_s,
            cpu_s={name: after[name] - before[name] for name in after},
            client_cpu_s=found["cpu_s"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            late_ms=voted["late_ms"],
            unsound=_unsound(voted, found),
        )

    def _cpu_s(self) -> dict[str, float]:
        try:
            return {name: exact_cpu_s(pid) for name, pid in self._mesh.pids().items()}
        except OSError as error:
            raise MeshError(f"a service is gone, or its CPU cannot be read ({error})") from None


async def _by_callers(numbers: Iterable[int], call: Callable[[int], Awaitable[None]]) -> None:
    """CALLERS at once. Raises what a call raises."""
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _poll_of(number: int) -> Poll:
    options = [PollOption(option_id=each, label=each.title()) for each in OPTIONS]
    return Poll(game_id=game_id(NAME, number), poll_id=POLL_ID, question="Who?", options=options)


def _unsound(voted: dict[str, Any], found: dict[str, Any]) -> str:
    if voted["rejected"]:
        return f"{voted['rejected']} votes were refused: {voted['why']}"
    if found["backwards"]:
        return f"{found['backwards']} times a viewer was shown an older state"
    if found["ended"]:
        return f"{sum(found['ended'].values())} viewers lost their streams: {next(iter(found['ended']))}"
    if found["behind"]:
        return f"{found['behind']} viewers were not shown the last count"
    return ""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench games",
        description="Thousands of games, each with a poll and a few viewers: what a game's update costs "
        "gateway, Envoy and workers, how long a vote takes to the screen, how long all viewers take to come.",
        epilog="Example: ./grandstand bench games --games 1000 --viewers 2 --json",
    )
    parser.add_argument("--games", type=int, default=2_000, help="how many (default 2,000)")
    parser.add_argument("--viewers", type=int, default=5, help="of each game (default 5)")
    parser.add_argument("--rate", type=float, default=4.0, help="votes/s in each game (default 4)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase (default 10)")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="without events (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    bounds = (("games", 1), ("viewers", 1), ("rate", 0.1), ("seconds", 1.0), ("idle_seconds", 0.5))
    for name, least in bounds:
        if getattr(asked, name) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(asked, name)}: at least {least:g} is needed")
    return asked


def measure(asked: argparse.Namespace) -> GamesFigures:
    """Raises MeshError."""
    machine.raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder:
        place = Path(folder)
        with temporary_mesh(place / "home") as mesh:
            try:
                return GamesBench(mesh, place, asked).run()
            except ClientError as error:
                raise MeshError(str(error)) from None


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    with one_line_errors():
        figures = measure(asked)
    say_nothing()
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if figures.unsound:
        print(f"grandstand: {figures.unsound}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
