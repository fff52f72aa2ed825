"""The mesh that a benchmark measures: the one that runs, or a temporary one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from grandstand.client import Token
from toolbox.cli.credentials import owning
from toolbox.local.errors import MeshError
from toolbox.local.ports import Ports
from toolbox.local.running import MeshAddresses, home_of, running_mesh, running_status

UP_WITHIN_S = 120.0


class BenchMesh:
    """Where it is reached, and which processes make it up."""

    def __init__(self, home: Path | None, is_temporary: bool) -> None:
        self.home: Path = home_of(home).root
        self.is_temporary = is_temporary
        self.addresses: MeshAddresses = running_mesh(home)
        self.token: Token = owner(self.home)

    def pids(self) -> dict[str, int]:
        """By service; the demo's crowd is no part of the mesh."""
        services = running_status(self.home).services
        return {service.name: service.pid for service in services if service.pid and service.name != "demo"}

    def address_of(self, service: str) -> str:
        """Such as of "gateway-1": host:port."""
        return next(each.address for each in running_status(self.home).services if each.name == service)


def owner(home: Path) -> Token:
    """The token with which a benchmark defines and acts for many. Raises MeshError where there is none."""
    return owning(os.environ.get("GRANDSTAND_TOKEN"), home)


@contextlib.contextmanager
def measured_mesh(home: Path | None) -> Iterator[BenchMesh]:
    """The mesh running in `home` if there is one; otherwise a new one on free ports, down afterwards."""
    try:
        found = BenchMesh(home, is_temporary=False)
    except MeshError:
        with (
            tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder,
            temporary_mesh(Path(folder) / "home") as made,
        ):
            yield made
    else:
        yield found


@contextlib.contextmanager
def temporary_mesh(home: Path, *arguments: str) -> Iterator[BenchMesh]:
    """A new one on free ports, down afterwards, also when this process is told to end (SIGTERM); `arguments`:
    more of `up`. Raises MeshError."""
    with contextlib.closing(Ports()) as free, _ending_in_order():
        edge, mesh = free.take(), free.take()
        at = ["--home", str(home)]
        ports = ("--port", str(edge), "--mesh-port", str(mesh))
        _command("up", *at, "--no-demo", "--no-canary", "--detach", *ports, *arguments)
        try:
            yield BenchMesh(home, is_temporary=True)
        finally:
            _command("down", *at)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM ends the body by SystemExit, so that what it started is ended."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(*arguments: str) -> None:
    """Raises MeshError with what the command said when it fails."""
    command = [sys.executable, "-m", "toolbox.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=UP_WITHIN_S, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MeshError(f"the temporary mesh: {arguments[0]} failed: {said[-1]}")
