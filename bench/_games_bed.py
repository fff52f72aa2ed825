"""Who takes part in the benchmark of many games: our mesh and its peers, each with a sender and viewers.

A peer shows the same: a channel or room for each game, to which a text as long as our Update is published for
each vote, to as many viewers.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench import _peers
from bench._child import BenchChild
from bench._cpu import exact_cpu_s
from bench._fanout_bed import nginx_conf
from bench._games_figures import GamesTurn
from bench._mesh import BenchMesh
from toolbox.local.errors import MeshError
from toolbox.local.ports import Ports

NAME = "bench"
_LEAD_S = 0.2
_OUTRUN_S = 5.0
"""What has not come by then, after whatever came last, does not come."""
_JOIN_PATIENCE_S = 60.0


class Joined(NamedTuple):
    """All viewers came at once."""

    took_s: float
    """Until the last of them watched."""
    errors: Mapping[str, int]
    """Why viewers were turned away, and how often."""


@dataclass
class GamesContestant:
    """`pids`: of the processes whose CPU is told, by name."""

    name: str
    games: int
    each: int
    """Viewers of a game."""
    pids: Callable[[], Mapping[str, int]]
    sender: BenchChild
    viewers: BenchChild
    votes: int = 0
    """In each game, so far."""
    version: str = ""

    def join(self) -> Joined:
        """Raises MeshError."""
        found = json.loads(self.viewers.ask(f"join {_JOIN_PATIENCE_S}"))
        if found["missing"]:
            raise MeshError(
                f"{self.name}: {found['missing']} viewers were shown nothing within {_JOIN_PATIENCE_S:g} s: "
                + next(iter(found["errors"]), "no reason was given")
            )
        return Joined(found["took_s"], found["errors"])

    def turn(self, rate: float, seconds: float, partition: int | None = None) -> GamesTurn:
        """Votes at this rate in each game, until all that is shown is shown. Only votes in games that
        fold in `partition` are timed. Raises MeshError."""
        each = max(1, round(rate * seconds))
        begin_us = time.monotonic_ns() // 1000 + round(1e6 * _LEAD_S)
        phase = f"{self.votes} {begin_us} {rate * self.games}"
        self.viewers.ask(f"phase {phase} {'' if partition is None else partition}")
        before, began_s = self.cpu_s(), time.monotonic()
        sent: dict[str, Any] = json.loads(self.sender.ask(f"{phase} {each * self.games}"))
        self.votes += each
        found: dict[str, Any] = json.loads(self.viewers.ask(f"settle {self.votes} {_OUTRUN_S}"))
        after, took_s = self.cpu_s(), time.monotonic() - began_s
        return GamesTurn(
            games=self.games,
            viewers=self.each,
            rate_per_s=rate,
            votes=each * self.games,
            frames=found["frames"],
            frame_bytes=found["frame_bytes"],
            seconds=took_s,
            cpu_s={name: after[name] - before[name] for name in after},
            client_cpu_s=found["cpu_s"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            late_ms=sent["late_ms"],
            unsound=unsound(sent, found),
        )

    def cpu_s(self) -> dict[str, float]:
        """By process, since each started. Raises MeshError."""
        try:
            return {name: exact_cpu_s(pid) for name, pid in self.pids().items()}
        except OSError as error:
            raise MeshError(f"{self.name}: a process is gone, or its CPU cannot be read ({error})") from None

    def end(self) -> None:
        self.viewers.end()
        self.sender.end()


def unsound(sent: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What is wrong with a phase; "" when nothing is."""
    if sent["refused"]:
        return f"{sent['refused']} votes were refused: {sent['why']}"
    if found["backwards"]:
        return f"{found['backwards']} times a viewer was shown an older state"
    if found["ended"]:
        return f"{sum(found['ended'].values())} viewers lost their streams: {next(iter(found['ended']))}"
    if found["behind"]:
        return f"{found['behind']} viewers were not shown the last count"
    return ""


class GamesBed:
    """Starts them; what it started ends with `close`."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder
        self._ports = ports
        self._children: list[BenchChild] = []

    def ours(self, mesh: BenchMesh, name: str, games: int, each: int) -> GamesContestant:
        """Games NAME-0, NAME-1 and so on, which are defined and have no votes yet. Raises MeshError."""
        port, names = _port(mesh.addresses.edge), f"{name}*{games}"
        viewers = self._talker("viewers-ours", "_games_viewers", "grpc-web", port, names, each)
        return GamesContestant("ours", games, each, mesh.pids, self.voter(mesh, names), viewers)

    def voter(self, mesh: BenchMesh, names: str) -> BenchChild:
        """Sends votes in these games, which are defined. Raises MeshError."""
        port = _port(mesh.addresses.mesh)
        return self._talker("voter", "_games_sender", "ours", port, names, mesh.home)

    def nchan(self, games: int, each: int, text_bytes: int) -> GamesContestant:
        """Raises MeshError, ProvisionError."""
        found = _peers.nchan()
        port, folder = self._ports.take(), self._folder / "nchan"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(nginx_conf(port, found.module, folder, "eventsource"))
        command: list[str | Path] = [found.program, "-p", folder, "-c", config, "-e", "stderr"]
        server = self._start("nchan", command, port)
        made = self._peer("nchan", "eventsource", server, port, games, each, text_bytes)
        return dataclasses.replace(made, version=found.version)

    def socket_io(self, games: int, each: int, text_bytes: int) -> GamesContestant:
        """Raises MeshError, ProvisionError."""
        found = _peers.socket_io()
        port, control = self._ports.take(), self._ports.take()
        script = _peers.SOCKET_IO / "server.cjs"
        command: list[str | Path] = [found.node, script, found.modules, str(port), str(control)]
        server = self._start("socket-io", command, port)
        made = self._peer("socket-io", "socket-io", server, control, games, each, text_bytes)
        return dataclasses.replace(made, version=found.version)

    def close(self) -> None:
        for child in reversed(self._children):
            child.end()

    def _peer(
        self, name: str, wire: str, server: BenchChild, told: int, games: int, each: int, text_bytes: int
    ) -> GamesContestant:
        names = f"{NAME}*{games}"
        sender = self._talker(f"teller-{name}", "_games_sender", name, told, names, text_bytes)
        viewers = self._talker(f"viewers-{name}", "_games_viewers", wire, server.port, names, each)
        made = GamesContestant(name, games, each, lambda: {name: server.pid}, sender, viewers)
        # Who comes is shown the newest text: there is to be one.
        sender.ask(f"0 0 {1e6} {games}")
        made.votes = 1
        return made

    def _talker(self, name: str, module: str, *arguments: object) -> BenchChild:
        command = [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
        return self._start(name, command, talks=True)

    def _start(
        self, name: str, command: Sequence[str | Path], port: int = 0, *, talks: bool = False
    ) -> BenchChild:
        child = BenchChild(name, command, self._folder, port=port, talks=talks)
        self._children.append(child)
        child.until_ready()
        return child


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
