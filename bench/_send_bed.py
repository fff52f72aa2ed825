"""What the Send benchmark runs: an event's way from Envoy to the event log, and the baseline's.

    ours        crowd ─▶ Envoy, as `up` configures it ─▶ python -m gateway ──────────┐
                                                                                     ├─▶ ingest ─▶ nats-server
    grpc.aio    crowd ─▶ an Envoy just like it ────────▶ bench._send_grpc_aio ───────┘

Two Envoys, because one spreads its calls over all gateways it has; the one whose turn it is not has nothing
to do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench._bed import Bed
from bench._child import HOST, BenchChild
from bench._fanout_bed import FanBed

OURS, GRPC_AIO = "gateway", "bench._send_grpc_aio"


@dataclass(frozen=True, slots=True)
class Way:
    """Envoy and the gateway behind it."""

    gateway: BenchChild
    envoy: BenchChild


class SendBed:
    """Starts ingest; the ways are started as asked, and all ends with the ground."""

    def __init__(self, ground: Bed) -> None:
        self._ground = ground
        self._fan = FanBed(ground)
        self.ingest = ground.ingest("ingest-1")

    def way(self, name: str, module: str) -> Way:
        """`module`: OURS or GRPC_AIO. Raises MeshError."""
        ground, port = self._ground, self._ground.ports.take()
        command: list[str | Path] = [sys.executable, "-m", module, "--instance", name]
        command += ["--listen", f"{HOST}:{port}", "--nats", ground.nats_url, "--redis", self._fan.redis_url]
        command += ["--mesh", f"{HOST}:{self.ingest.port}"]
        command += ["--keys", ground.keys, "--mesh-key", ground.mesh_key]
        gateway = ground.start(name, command, port)
        return Way(gateway, self._fan.envoy(f"envoy-{name}", gateway))
