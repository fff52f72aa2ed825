"""Who takes part in the fan-out benchmark, each with its publisher and its viewers, turn by turn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench import _peers
from bench._bed import GAME
from bench._child import BenchChild
from bench._cpu import exact_cpu_s, tree_rss_kib
from bench._fanout_bed import BASELINE_GAME, FanBed
from toolbox.local.errors import MeshError

_OUTRUN_S = 2.0
"""What has not come by then, after whatever came last, does not come."""


class FanoutTurn(NamedTuple):
    """What one contestant did in one round."""

    viewers: int
    frames: int
    """That viewers were shown."""
    lost: int
    """That were published and never shown: a later one was, or none."""
    cpu_s: Mapping[str, float]
    """By process."""
    client_cpu_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_ms: float
    """By how much the publisher was late, at most."""
    unsound: str
    """What no conflation explains: numbers that went back, streams that ended."""

    def us_per_frame(self, *processes: str) -> float:
        """Microseconds of CPU of these; of all of them when none is named."""
        cpu_s = sum(self.cpu_s[name] for name in processes or self.cpu_s)
        return cpu_s * 1e6 / max(1, self.frames)

    def frames_per_cpu_s(self, *processes: str) -> float:
        return 1e6 / max(1e-9, self.us_per_frame(*processes))


@dataclass
class Contestant:
    """`processes` are those whose CPU counts."""

    name: str
    processes: Mapping[str, BenchChild]
    publisher: BenchChild
    viewers: BenchChild
    version: str = ""
    watching: int = 0
    number: int = 0
    turns: list[FanoutTurn] = field(default_factory=list)
    _base_kib: dict[str, int] = field(default_factory=dict)
    _based_on: int = 0

    def open(self, viewers: int) -> None:
        """Until this many watch. Raises MeshError."""
        if not self.number:
            self.publish(1, 10.0)
        self.viewers.ask(f"open {viewers - self.watching}")
        self.watching = viewers

    def publish(self, count: int, rate: float) -> float:
        """Frames at this many a second; how late the publisher was, in ms."""
        number, late_ms = self.publisher.ask(f"{count} {rate}").split()
        self.number = int(number)
        return float(late_ms)

    def remember_memory(self) -> None:
        """As the processes are now: from here on growth is the viewers'."""
        self._base_kib = {name: tree_rss_kib(child.pid) for name, child in self.processes.items()}
        self._based_on = self.watching

    def kib_per_viewer(self) -> dict[str, float]:
        """By process."""
        grown = {
            name: tree_rss_kib(child.pid) - self._base_kib[name] for name, child in self.processes.items()
        }
        return {name: kib / max(1, self.watching - self._based_on) for name, kib in grown.items()}

    def turn(self, rate: float, seconds: float) -> FanoutTurn:
        """Publishes at the rate for so long, and takes what becomes of it. Raises MeshError."""
        self.viewers.ask("begin")
        before = self._cpu_s()
        count = max(1, round(rate * seconds))
        late_ms = self.publish(count, rate)
        found: dict[str, Any] = json.loads(self.viewers.ask(f"settle {self.number} {_OUTRUN_S}"))
        after = self._cpu_s()
        return FanoutTurn(
            viewers=self.watching,
            frames=found["frames"],
            lost=count * self.watching - found["frames"],
            cpu_s={name: after[name] - before[name] for name in after},
            client_cpu_s=found["cpu_s"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            max_ms=found["p100_ms"],
            late_ms=late_ms,
            unsound=_unsound(found),
        )

    def _cpu_s(self) -> dict[str, float]:
        try:
            return {name: exact_cpu_s(child.pid) for name, child in self.processes.items()}
        except OSError as error:
            raise MeshError(f"{self.name}: a process is gone, or its CPU cannot be read ({error})") from None


def _unsound(found: Mapping[str, Any]) -> str:
    if found["backwards"]:
        return f"{found['backwards']} times a viewer was shown an older state"
    if found["ended"]:
        return f"{sum(found['ended'].values())} viewers lost their streams: {next(iter(found['ended']))}"
    return ""


def ours(bed: FanBed) -> Contestant:
    gateway = bed.gateway("gateway-1")
    envoy = bed.envoy("envoy", gateway)
    publisher = bed.publisher("ours", game_id=GAME)
    viewers = bed.viewers("ours", "grpc-web", envoy.port)
    return Contestant("ours", {"gateway": gateway, "envoy": envoy}, publisher, viewers)


def grpc_aio(bed: FanBed) -> Contestant:
    gateway = bed.grpc_aio()
    envoy = bed.envoy("envoy-grpc-aio", gateway)
    publisher = bed.publisher("grpc-aio", game_id=BASELINE_GAME)
    viewers = bed.viewers("grpc-aio", "grpc-web", envoy.port, BASELINE_GAME)
    return Contestant("grpc_aio", {"gateway": gateway, "envoy": envoy}, publisher, viewers)


def nchan(bed: FanBed, subscriber: str) -> Contestant:
    """Raises ProvisionError as well."""
    found = _peers.nchan()
    server = bed.nchan(found, subscriber)
    publisher = bed.teller("nchan", "nchan", server.port)
    viewers = bed.viewers("nchan", subscriber, server.port)
    return Contestant("nchan", {"nginx": server}, publisher, viewers, found.version)


def socket_io(bed: FanBed) -> Contestant:
    """Raises ProvisionError as well."""
    found = _peers.socket_io()
    server, control = bed.socket_io(found)
    publisher = bed.teller("socket-io", "socket-io", control)
    viewers = bed.viewers("socket-io", "socket-io", server.port)
    return Contestant("socketio", {"node": server}, publisher, viewers, found.version)
