"""The mesh a run plays on: its own, in a home and on ports of its own, and its processes by name.

It is the real `up`, as a child process that ends with this one, whatever ends it. The child is started
from the main thread and stays there: the kernel ties it to the thread that forked it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grandstand.client import Token
from toolbox.local import provision, status
from toolbox.local.development import producer_token
from toolbox.local.errors import MeshError
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.running import MeshAddresses, running_mesh

EVENTS_BYTES = 1024 * 1024
"""The room of the event stream: at 300 events a second it is full to limits.RETENTION_FULL several times a
minute, so that owners take checkpoints and purge all along."""
UP_WITHIN_S = 120.0
DOWN_WITHIN_S = 60.0
REPLICAS = {"ingest": 2, "aggregate": 2, "gateway": 2}
TARGETS = (
    *(f"{kind}-{n}" for kind, count in REPLICAS.items() for n in range(1, count + 1)),
    *("valkey", "nats", "envoy"),
)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh that is up."""

    home: Path
    addresses: MeshAddresses
    token: Token
    """A producer's."""
    links: Mapping[str, int]
    """By the name of an ingest, the process that is its way to NATS."""

    def pid(self, name: str) -> int | None:
        """Of a process that is ready; None while it is not."""
        found = status.read(Home(self.home).status)
        for service in found.services if found else ():
            if service.name == name and service.state == "ready":
                return service.pid
        return None

    def address(self, name: str) -> str:
        """Where a process listens; the same after each restart."""
        found = status.read(Home(self.home).status)
        return next(service.address for service in found.services if service.name == name) if found else ""

    def away(self) -> list[str]:
        """The processes that are not ready."""
        found = status.read(Home(self.home).status)
        if found is None:
            return ["supervisor"]
        return [service.name for service in found.services if service.state != "ready"]

    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        found = status.read(Home(self.home).status)
        return {service.name: service.restarts for service in found.services} if found else {}


@contextlib.contextmanager
def own_mesh(home: Path) -> Iterator[Mesh]:
    """A mesh with two of each service, down when this ends. Raises MeshError."""
    with contextlib.closing(Ports()) as ports, contextlib.ExitStack() as stack:
        links: dict[str, int] = {}
        ways: list[str] = []
        for name in TARGETS:
            if name.startswith("ingest-"):
                port = ports.take()
                links[name] = stack.enter_context(_link(port, home))
                ways += ["--nats-way", f"{name}=nats://127.0.0.1:{port}"]
        at = ("--port", str(ports.take()), "--mesh-port", str(ports.take()))
        replicas = [word for kind, count in REPLICAS.items() for word in (f"--{kind}", str(count))]
        read_end, write_end = os.pipe()
        with (
            open(read_end, "rb", buffering=0) as reports,  # noqa: PTH123
            subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "toolbox.cli", "up", "--home", str(home), "--no-demo", *at),
                    *(*replicas, *ways, "--events-bytes", str(EVENTS_BYTES)),
                    *("--report-fd", str(write_end), "--end-with-parent"),
                ],
                cwd=provision.checkout(),
                env={
                    name: value for name, value in os.environ.items() if name != "OTEL_EXPORTER_OTLP_ENDPOINT"
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(write_end,),
                # Ctrl-C is for this process: it takes the mesh down when it has reckoned.
                start_new_session=True,
            ) as process,
        ):
            os.close(write_end)
            try:
                _wait_ready(reports.fileno(), process)
                yield Mesh(home, running_mesh(home), producer_token(home), links)
            finally:
                _down(process)


@contextlib.contextmanager
def _link(port: int, home: Path) -> Iterator[int]:
    """The process that forwards `port` to the NATS of the mesh."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "toolbox.chaos.link", str(port), str(home)],
        cwd=provision.checkout(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _wait_ready(reports: int, process: subprocess.Popen[bytes]) -> None:
    """Follows the reports until the mesh is ready; an error among them is why it did not start."""
    give_up_at = time.monotonic() + UP_WITHIN_S
    unread = b""
    while (left_s := give_up_at - time.monotonic()) > 0:
        if not select.select([reports], [], [], left_s)[0]:
            break
        data = os.read(reports, 64 * 1024)
        if not data:
            raise MeshError(f"the mesh ended while it started, with exit code {process.wait(DOWN_WITHIN_S)}")
        *lines, unread = (unread + data).split(b"\n")
        for report in map(json.loads, lines):
            if "error" in report:
                raise MeshError(f"the mesh did not start: {report['error']}")
            if report.get("status", {}).get("state") == "ready":
                return
    raise MeshError(f"the mesh was not ready within {UP_WITHIN_S:g} s")


def _down(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(DOWN_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise MeshError(f"the mesh did not come down within {DOWN_WITHIN_S:g} s and was killed") from None
