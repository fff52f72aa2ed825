"""A whole mesh for tests: started by the real `up`, in a home and on ports of its own.

It ends with the test run, whatever ends that: the kernel tells it when its parent dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.support.unprivileged import unprivileged
from toolbox.local.development import development_token, operator_token, owner_token, producer_token
from toolbox.local.logfile import tail
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout
from toolbox.local.running import MeshAddresses, running_mesh, running_status, store_urls
from toolbox.local.status import MeshStatus, ServiceStatus
from toolbox.local.store_users import ADMIN, StoreUrls

DOWN_WITHIN_S = 60.0
PATIENCE_S = 30.0

_UP: dict[str, RunningMesh] = {}
"""The meshes that are up, by the address of their edge and of their mesh listener."""


class RunningMesh:
    """Addresses, processes and logs of a mesh that is up."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.process = process
        self.addresses: MeshAddresses = running_mesh(home)
        self.producer: Callable[[], str] = producer_token(home)
        """A token with which to act for anybody, fresh at each call."""
        self.owner: Callable[[], str] = owner_token(home, "tests")
        """The same, with which also to define, open and close."""
        self.operator: Callable[[], str] = operator_token(home, "tests")
        """For the mesh listener alone."""

    def viewer(self, actor_id: str, games: Iterable[str] | None = None, life_s: float = 3600.0) -> str:
        """A token with which to act as `actor_id` and nobody else."""
        return development_token(self.home, actor_id, roles=["viewer"], games=games, life_s=life_s)

    def stores(self, user: str = ADMIN) -> StoreUrls:
        """NATS and Redis, as one who may do everything or as OPERATOR."""
        return store_urls(self.home, user)

    @property
    def edge_url(self) -> str:
        return self.addresses.edge_url

    @property
    def edge(self) -> str:
        return self.addresses.edge

    @property
    def mesh(self) -> str:
        return self.addresses.mesh

    def status(self) -> MeshStatus:
        return running_status(self.home)

    def service(self, name: str) -> ServiceStatus:
        """Such as "ingest-1"."""
        return next(service for service in self.status().services if service.name == name)

    def send_signal(self, name: str, number: signal.Signals) -> int:
        """To one process of the mesh; answers its pid."""
        pid = self.service(name).pid
        assert pid is not None, f"{name} does not run"
        os.kill(pid, number)
        return pid

    def kill(self, name: str) -> int:
        return self.send_signal(name, signal.SIGKILL)

    def wait_restarted(self, name: str, old_pid: int) -> None:
        """Until `name` is ready again as another process."""

        def is_back() -> bool:
            now = self.service(name)
            return now.state == "ready" and now.pid not in (None, old_pid)

        wait_for(is_back, f"{name} is back")

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")


def mesh_at(address: str) -> RunningMesh:
    """The mesh whose edge or mesh listener this is."""
    return _UP[address]


def wait_for(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """For a condition that another process brings about."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    home: Path, *arguments: str, within: Callable[[list[str]], list[str]] = lambda command: command
) -> Iterator[RunningMesh]:
    """A mesh without demo and canary, unless `arguments` (of `up`) say `--demo`, `--canary`; it is down when
    this ends. `within` makes another command of that of `up`, as toolbox.chaos.tmpfs.command does."""
    with contextlib.closing(Ports()) as ports:
        edge, mesh = ports.take(), ports.take()
        read_end, write_end = os.pipe()
        process = subprocess.Popen(
            within(
                [
                    *unprivileged(arguments),
                    *(sys.executable, "-m", "toolbox.cli", "up", "--home", str(home), "--no-demo"),
                    *("--no-canary", "--port", str(edge), "--mesh-port", str(mesh)),
                    *("--report-fd", str(write_end), "--end-with-parent", *arguments),
                ]
            ),
            cwd=checkout(),
            env={key: value for key, value in os.environ.items() if key != "OTEL_EXPORTER_OTLP_ENDPOINT"},
            stdin=subprocess.DEVNULL,
            pass_fds=(write_end,),
        )
        os.close(write_end)
        try:
            _wait_settled(read_end, process)
            started = RunningMesh(home, process)
            _UP.update({started.edge: started, started.mesh: started})
            yield started
        finally:
            _UP.pop(f"127.0.0.1:{edge}", None)
            _UP.pop(f"127.0.0.1:{mesh}", None)
            _down(process, home)


def _wait_settled(read_end: int, process: subprocess.Popen[bytes]) -> None:
    """The mesh reports until it has settled; an error among the reports is why it did not start."""
    with os.fdopen(read_end, "rb") as reports:
        for line in reports:
            report = json.loads(line)
            assert "error" not in report, report["error"]
            if "status" in report and report["status"]["state"] == "ready":
                return
    raise AssertionError(f"the mesh ended while it started, with exit code {process.wait(DOWN_WITHIN_S)}")


def _down(process: subprocess.Popen[bytes], home: Path) -> None:
    process.terminate()
    try:
        process.wait(DOWN_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        logs = {path.name: tail(path, 3) for path in sorted((home / "logs").glob("*.log"))}
        raise AssertionError(
            f"the mesh in {home} did not come down within {DOWN_WITHIN_S:g} s: {logs}"
        ) from None
