"""The proxies of a mesh, from outside: a process with a port for each service and store, and orders to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolbox.local import provision
from toolbox.local.errors import MeshError
from toolbox.local.plan import TOOLS
from toolbox.local.ports import Ports

STORES = ("nats", "valkey")


@dataclass(frozen=True, slots=True)
class Ways:
    """`ports` by way, such as `ingest-1 nats`."""

    ports: Mapping[str, int]
    process: subprocess.Popen[bytes]

    def arguments(self) -> list[str]:
        """For `up`: how each service reaches each store."""
        found = []
        for way, port in self.ports.items():
            name, store = way.split()
            option, scheme = ("--nats-way", "nats") if store == "nats" else ("--redis-way", "redis")
            found += [option, f"{name}={scheme}://127.0.0.1:{port}"]
        return found

    def hold(self, way: str, *, up: bool, down: bool) -> None:
        """Which directions of a way carry nothing from now on."""
        self._order({"hold": way, "up": up, "down": down})

    def slow(self, store_or_way: str, delay_s: float) -> None:
        """How much later replies come from now on."""
        self._order({"slow": store_or_way, "s": delay_s})

    def clock(self, shift_s: float) -> None:
        """How far NATS's clock is ahead from now on."""
        self._order({"clock": shift_s})

    def target(self, store: str, address: str) -> None:
        """Where new connections to a store go."""
        self._order({"target": store, "address": address})

    def _order(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the mesh is coming down
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def open_ways(home: Path, services: Sequence[str], ports: Ports) -> Iterator[Ways]:
    """From each service to each store. Raises MeshError."""
    taken = {f"{service} {store}": ports.take() for service in services for store in STORES}
    taken[f"{TOOLS} valkey"] = ports.take()
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "toolbox.chaos.proxy", str(home)),
            *(f"{way}={port}" for way, port in taken.items()),
        ],
        cwd=provision.checkout(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise MeshError("the proxies of chaos did not start")
        yield Ways(taken, process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
