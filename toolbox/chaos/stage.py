"""The mesh a run plays on: its own, in a home and on ports of its own, and its processes by name.

Its services reach NATS and Redis through proxies (see `proxy`), a second Valkey replicates the first
(`standby`), the stores have small disks of their own (`tmpfs`), and each service has a file that says how
far its clock is off.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from grandstand.client import Token
from mesh.config import FORGET_VARIABLE
from toolbox.chaos import tmpfs
from toolbox.chaos.standby import SecondValkey, Standby, second_valkey
from toolbox.chaos.ways import Ways, open_ways
from toolbox.local import provision, status
from toolbox.local.development import operator_token, owner_token, producer_token
from toolbox.local.errors import MeshError
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.running import MeshAddresses, running_mesh, store_urls
from toolbox.local.store_users import ADMIN, StoreUrls

EVENTS_BYTES = 1024 * 1024
"""The room of the event stream: at 300 events a second it is full to limits.RETENTION_FULL several times a
minute, so that owners take checkpoints and purge all along."""
FORGET_AFTER_S = 30
"""When a game that has ended is forgotten: its results can be read before, and no process is frozen for so
long in the middle of a step of the game (in life it is 25 h)."""
DISK_BYTES = 64 * 1024 * 1024
"""The disk of each store: a run of an hour needs less."""
UP_WITHIN_S = 120.0
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DOWN_WITHIN_S = 60.0
REPLICAS = {"ingest": 2, "aggregate": 2, "gateway": 2, "notify": 2}
TARGETS = (
    *(f"{kind}-{n}" for kind, count in REPLICAS.items() for n in range(1, count + 1)),
    *("valkey", "nats", "envoy"),
)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh that is up."""

    home: Path
    addresses: MeshAddresses
    stores: StoreUrls
    """With all rights."""
    token: Token
    """A producer's."""
    owner: Token
    operator: Token
    supervisor: int
    ways: Ways
    standby: Standby
    second: SecondValkey
    clocks: Path
    """The folder of the files that say how far clocks are off."""

    def pid(self, name: str) -> int | None:
        """Of a process that is ready; None while it is not."""
        found = status.read(Home(self.home).status)
        for service in found.services if found else ():
            if service.name == name and service.state == "ready":
                return service.pid
        return None

    def store_pid(self, name: str) -> int | None:
        """Of the process that serves a store just now: of Redis, the master."""
        if name == "valkey" and self.standby.second_leads:
            return self.second.pid
        return self.pid(name)

    def disk(self, store: str) -> tmpfs.Disk:
        """Of the process that serves a store just now; the others' are not reached by way of it."""
        if store == "valkey" and self.standby.second_leads:
            return tmpfs.Disk(self.second.folder, lambda: self.second.pid)
        # The supervisor is in there, too, and outlives what it restarts.
        return tmpfs.Disk(self.home / store, lambda: self.supervisor)

    def shift_clock(self, name: str, shift_s: float) -> None:
        """How far a service's clock is ahead from now on."""
        beside = self.clocks / f".{name}"
        beside.write_text(f"{shift_s:.6f}")
        beside.replace(self.clocks / name)

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
        services = [name for name in TARGETS if "-" in name]
        ways = stack.enter_context(open_ways(home, services, ports))
        Home(home).create()
        clocks = home / "clocks"
        clocks.mkdir(mode=0o700)
        for name in services:
            (clocks / name).write_text("0")
        at = ("--port", str(ports.take()), "--mesh-port", str(ports.take()))
        replicas = [word for kind, count in REPLICAS.items() for word in (f"--{kind}", str(count))]
        read_end, write_end = os.pipe()
        with (
            open(read_end, "rb", buffering=0) as reports,  # noqa: PTH123
            subprocess.Popen(
                tmpfs.command(
                    DISK_BYTES,
                    [home / "nats", home / "valkey"],
                    [
                        *(sys.executable, "-P", "-m", "toolbox.cli", "up", "--home", str(home), "--no-demo"),
                        *("--no-canary", *at, *replicas, *ways.arguments(), "--clocks", str(clocks)),
                        *("--events-bytes", str(EVENTS_BYTES)),
                        *("--report-fd", str(write_end), "--end-with-parent"),
                    ],
                ),
                cwd=provision.checkout(),
                env={
                    **{name: value for name, value in os.environ.items() if name != _ENDPOINT},
                    FORGET_VARIABLE: str(FORGET_AFTER_S),
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
                stores = store_urls(home, ADMIN)
                second = stack.enter_context(
                    second_valkey(ports.take(), home / "valkey-2", DISK_BYTES, home / "run" / "valkey.conf")
                )
                found = status.read(Home(home).status)
                assert found is not None, "it has just said that it is ready"
                first = next(service.address for service in found.services if service.name == "valkey")
                yield Mesh(
                    home,
                    running_mesh(home),
                    stores,
                    producer_token(home),
                    owner_token(home, "chaos"),
                    operator_token(home, "chaos"),
                    process.pid,
                    ways,
                    Standby(ways, first, second, (ADMIN, urlsplit(stores.redis).password or "")),
                    second,
                    clocks,
                )
            finally:
                _down(process)


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
