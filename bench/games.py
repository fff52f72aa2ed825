"""Thousands of games at once, a poll and a few viewers each: what a game's update costs each service.

The whole path, in a temporary mesh of one service of each kind: votes by a producer's Publish, viewers by
gRPC-Web through Envoy with deltas, each on its own connection. CPU is what the kernel accounts to each
process.

    join       all viewers come at once: until the last of them watches, and how many were turned away
    idle       all watch, nothing happens: CPU of the gateway
    calm       one vote a second in each game: from when a vote was due until a viewer was shown it, of all
               votes and viewers
    loaded     `--rate` votes a second in each game, evenly: CPU of the gateway and of Envoy for an update of
               a game on the screens of its viewers, and of the workers for an update of a topic. In turns
               with it Nchan, a channel for each game, and Socket.IO, a room for each: as many texts, as long
               as our Update, to as many viewers. vs_...: their CPU for a game's update on all its screens
               over our gateway's and Envoy's
    neighbour  as calm, beside a game that takes 20,000 votes a second: votes of games of its partition
    flush      5,000 votes a second in one partition and spread over all: what the flushes more cost, each
    define     DefineGame by 64 callers, with `--standing` games in the catalog
    churn      in a mesh of its own, where games are forgotten at once: `--churn` games are defined, voted in
               and ended. What the memory of a process grows by for each 1,000 of the second half, and what is
               left of them in Redis and the catalog's bucket

`--plot FILE` goes through several numbers of games and draws cost and latency over them, also with `--quick`,
which ends after the first round of ours. The run ends non-zero when a vote was refused, a viewer lost its
stream or was shown older counts, or was not shown the last ones in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import _games_flush
from bench._arguments import check_least
from bench._games_bed import NAME, GamesBed, GamesContestant
from bench._games_catalog import define_open, defined_per_s
from bench._games_churn import churn
from bench._games_figures import NCHAN, SOCKET_IO, GamesFigures, GamesTurn, show
from bench._games_plot import plot
from bench._games_votes import games_in
from bench._mesh import BenchMesh, temporary_mesh
from bench._say import say, say_nothing
from grandstand.client import ClientError
from grandstand.wire import ids
from toolbox.cli.console import one_line_errors
from toolbox.local import machine, store_users
from toolbox.local.errors import MeshError
from toolbox.local.ports import Ports
from toolbox.local.provision import ProvisionError
from toolbox.local.running import store_urls

NOISY = "noisy-0"
NOISY_RATE = 20_000.0
CALM_RATE = 1.0
LADDER = (10, 100, 500, 1_000, 2_000, 5_000)
VIEWERS_MAX = 10_000
"""Of a step of the plot: of more games fewer each."""
STANDING_PATIENCE_S = 90.0
_AHEAD_S = 1.0
_MORE = 2_000
"""Games that are defined to see how fast that goes."""


class GamesBench:
    """One run against one mesh."""

    def __init__(self, mesh: BenchMesh, bed: GamesBed, asked: argparse.Namespace) -> None:
        self._mesh = mesh
        self._bed = bed
        self._asked = asked
        self.figures = GamesFigures(asked.games, asked.viewers, asked.rate)

    def run(self) -> GamesFigures:
        """Raises MeshError, ClientError."""
        asked, figures = self._asked, self.figures
        say(f"defining {asked.games} games")
        began_s = time.monotonic()
        games = games_in(f"{NAME}*{asked.games}")
        asyncio.run(define_open(self._mesh, [*games, NOISY, *_games_flush.games_of_partitions()]))
        figures.define_s = time.monotonic() - began_s
        ours = self._bed.ours(self._mesh, NAME, asked.games, asked.viewers)
        say(f"{asked.games * asked.viewers} viewers come at once")
        figures.join_s, figures.join_errors = ours.join()
        figures.idle_gateway_cpu = self._idle(ours)
        say("calm: one vote a second in each game")
        ours.turn(CALM_RATE, 1.0)
        figures.calm.append(ours.turn(CALM_RATE, asked.seconds))
        if asked.quick:
            figures.loaded.append(self._loaded(ours))
        else:
            self._rounds(ours)
            self._neighbour(ours)
        ours.end()
        self._climb()
        if not asked.quick:
            self._flush(ours)
            self._define()
        return figures

    def _idle(self, ours: GamesContestant) -> float:
        """CPU of the gateways while nothing happens, in cores."""
        seconds: float = self._asked.idle_seconds
        say("idle: all watch, nothing happens")
        time.sleep(1.0)
        before = ours.cpu_s()
        time.sleep(seconds)
        after = ours.cpu_s()
        spent_s = [after[name] - before[name] for name in after if name.startswith("gateway")]
        return sum(spent_s) / seconds

    def _rounds(self, ours: GamesContestant) -> None:
        """Ours first: it says how long the peers' texts are."""
        figures, asked = self.figures, self._asked
        figures.loaded.append(self._loaded(ours))
        peers = self._peers(figures.loaded[0].frame_bytes)
        for number in range(asked.rounds):
            if number:
                figures.loaded.append(self._loaded(ours))
            for name, peer in peers.items():
                say(f"{name}: {asked.rate:g} texts a second for each game")
                figures.peers[name].append(peer.turn(asked.rate, asked.seconds))
        for peer in peers.values():
            peer.end()

    def _peers(self, text_bytes: int) -> dict[str, GamesContestant]:
        """Those that can be had, watched."""
        asked, found = self._asked, {}
        makers: dict[str, Callable[[int, int, int], GamesContestant]] = {
            NCHAN: self._bed.nchan,
            SOCKET_IO: self._bed.socket_io,
        }
        for name, make in makers.items():
            try:
                if asked.without_peers:
                    raise ProvisionError("--without-peers")
                say(f"{name}: starting, fetched on first use")
                peer = found[name] = make(asked.games, asked.viewers, text_bytes)
                peer.join()
                peer.turn(CALM_RATE, 1.0)
                self.figures.peers[name], self.figures.notes[name] = [], peer.version
            except ProvisionError as error:
                self.figures.notes[name] = f"skipped: {error}"
        return found

    def _loaded(self, ours: GamesContestant) -> GamesTurn:
        say(f"loaded: {self._asked.rate:g} votes a second in each game")
        return ours.turn(self._asked.rate, self._asked.seconds)

    def _neighbour(self, ours: GamesContestant) -> None:
        figures, seconds = self.figures, self._asked.seconds
        say(f"neighbour: {NOISY_RATE:,.0f} votes a second in one game")
        noisy = self._bed.voter(self._mesh, NOISY)
        count = round(NOISY_RATE * (seconds + 2 * _AHEAD_S))
        begin_us = time.monotonic_ns() // 1000
        noisy.tell(f"0 {begin_us} {NOISY_RATE} {count}")
        time.sleep(_AHEAD_S)
        figures.neighbour = ours.turn(CALM_RATE, seconds, ids.partition_of(NOISY, "", 1))
        sent = json.loads(noisy.hear())
        figures.neighbour_votes_per_s = count / sent["took_s"]
        if sent["refused"]:
            figures.notes["neighbour"] = f"{sent['refused']} of its votes were refused: {sent['why']}"
        noisy.end()

    def _flush(self, ours: GamesContestant) -> None:
        say(f"flush: {_games_flush.RATE:,.0f} votes a second, in one partition and in all")
        games = _games_flush.games_of_partitions()
        url = store_urls(self._mesh.home, store_users.ADMIN).nats
        one, every = self._bed.voter(self._mesh, games[0]), self._bed.voter(self._mesh, ",".join(games))
        made = _games_flush.flush_cost(one, every, ours.cpu_s, url, self._asked.seconds)
        self.figures.flush = asyncio.run(made)
        one.end()
        every.end()

    def _define(self) -> None:
        figures, standing = self.figures, self._asked.standing
        if not standing:
            figures.notes["define_per_s"] = "--standing 0"
            return
        say(f"define: with {standing} games in the catalog")
        more = max(0, standing - self._asked.games)
        try:
            rate, stood = asyncio.run(defined_per_s(self._mesh, more, _MORE, STANDING_PATIENCE_S))
        except ClientError as error:
            figures.notes["define_per_s"] = str(error)
            return
        figures.define_per_s, figures.define_standing = rate, self._asked.games + stood
        if stood < more:
            figures.notes["define_per_s"] = f"not all {standing} stood after {STANDING_PATIENCE_S:g} s"

    def _climb(self) -> None:
        """Loaded and calm at each number of games of the plot, up to the first that cannot be had."""
        for games in LADDER if self._asked.plot else ():
            say(f"plot: {games} games")
            try:
                self.figures.ladder.append(self._step(games))
            except (MeshError, ClientError) as error:
                self.figures.notes["plot"] = f"ends before {games} games: {error}"
                return

    def _step(self, games: int) -> tuple[GamesTurn, GamesTurn]:
        """Raises MeshError, ClientError."""
        asked = self._asked
        name, each = f"plot{games}", max(1, min(asked.viewers, VIEWERS_MAX // games))
        asyncio.run(define_open(self._mesh, games_in(f"{name}*{games}")))
        some = self._bed.ours(self._mesh, name, games, each)
        try:
            some.join()
            some.turn(CALM_RATE, 1.0)
            calm = some.turn(CALM_RATE, asked.seconds)
            return some.turn(asked.rate, asked.seconds), calm
        finally:
            some.end()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench games",
        description="Thousands of games, each with a poll and a few viewers: what a game's update costs "
        "gateway, Envoy and workers, how long a vote takes to the screen, how long all viewers take to come.",
        epilog="Example: ./grandstand bench games --games 1000 --viewers 2 --quick --json",
    )
    parser.add_argument("--games", type=int, default=2_000, help="how many (default 2,000)")
    parser.add_argument("--viewers", type=int, default=5, help="of each game (default 5)")
    parser.add_argument("--rate", type=float, default=4.0, help="votes/s in each game, loaded (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="loaded turns that each one takes (default 3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn (default 8)")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="without events (default 5)")
    parser.add_argument(
        "--standing", type=int, default=10_000, help="games, for define_per_s (default 10,000)"
    )
    parser.add_argument(
        "--churn", type=int, default=20_000, help="games that come and go (default 20,000; 0: none)"
    )
    parser.add_argument("--without-peers", action="store_true", help="no Nchan, no Socket.IO")
    parser.add_argument("--quick", action="store_true", help="only join, idle, calm, and a loaded turn")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="measures 10 to 5,000 games, and draws")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    bounds = (
        *(("games", 1), ("viewers", 1), ("rate", 0.1), ("rounds", 1), ("seconds", 1.0)),
        *(("idle_seconds", 0.5), ("standing", 0), ("churn", 0)),
    )
    check_least(parser, asked, bounds)
    return asked


def measure(asked: argparse.Namespace) -> GamesFigures:
    """Raises MeshError, ClientError."""
    machine.raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder:
        place = Path(folder)
        with (
            contextlib.closing(Ports()) as ports,
            temporary_mesh(place / "home") as mesh,
            contextlib.closing(GamesBed(place, ports)) as bed,
        ):
            figures = GamesBench(mesh, bed, asked).run()
        if asked.churn and not asked.quick:
            say(f"churn: {asked.churn} games come and go")
            try:
                figures.churn = churn(place / "churn", asked.churn)
            except ClientError as error:
                figures.notes["churn"] = str(error)
    return figures


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    with one_line_errors():
        try:
            figures = measure(asked)
        except ClientError as error:
            raise MeshError(str(error)) from None
        if asked.plot and figures.ladder:
            asked.plot.write_text(plot(figures.ladder))
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
