"""Real stores and bare workers for tests: nats-server, Valkey, a cluster of it, and `python -m aggregate`.

Everything runs on free ports in a temporary folder and ends with its `with`, and with the test run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import redis

from tests.support.mesh_fixture import PATIENCE_S, wait_for
from toolbox.local import provision
from toolbox.local.development import ensure_development_key, ensure_mesh_key
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.stores import nats_conf, valkey_conf

T = TypeVar("T")

ENDED_WITHIN_S = 20.0
HOST = "127.0.0.1"


class Process:
    """A child that can be killed, stopped, continued and started again."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path, address: str = "") -> None:
        """`address`: where it listens, for who calls it."""
        self.name = name
        self.address = address
        self.log = folder / f"{name}.log"
        self._command = [str(part) for part in command]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        checkout = provision.checkout()
        paths = (str(checkout), str(checkout / "stubs" / "python"), os.environ.get("PYTHONPATH", ""))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(ENDED_WITHIN_S)

    def wait(self) -> int:
        """Until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(ENDED_WITHIN_S)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(ENDED_WITHIN_S)

    def end(self) -> None:
        if self.running:
            self.send_signal(signal.SIGCONT)
            self.kill()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, str]]:
        """What it logged, line by line, as docs/logs.md has it."""
        return [json.loads(line) for line in self.said().splitlines()]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1.0):
        return True
    return False


@dataclass
class Stores:
    """A nats-server and a Valkey."""

    nats_url: str
    redis_url: str
    nats: Process
    valkey: Process
    folder: Path
    ports: Ports
    processes: list[Process] = field(default_factory=list)

    def worker(self, instance: str, redis_url: str | None = None) -> Process:
        """A started `python -m aggregate`, ready or not."""
        return self._service("aggregate", instance, redis_url)

    def notify(self, instance: str, nats_url: str | None = None, redis_url: str | None = None) -> Process:
        """A started `python -m notify`, ready or not."""
        return self._service("notify", instance, redis_url, nats_url)

    def _service(
        self, kind: str, instance: str, redis_url: str | None = None, nats_url: str | None = None
    ) -> Process:
        address = f"{HOST}:{self.ports.take()}"
        process = Process(
            instance,
            [
                *(sys.executable, "-m", kind, "--instance", instance),
                *("--listen", address, "--mesh", f"{HOST}:1"),
                *("--nats", nats_url or self.nats_url, "--redis", redis_url or self.redis_url),
                *("--keys", str(ensure_development_key(self.folder))),
                *("--mesh-key", str(ensure_mesh_key(self.folder))),
            ],
            self.folder,
            address,
        )
        self.processes.append(process)
        process.start()
        return process


@contextlib.contextmanager
def stores(folder: Path) -> Iterator[Stores]:
    """Started and answering; all that was started through them ends with them."""
    with contextlib.closing(Ports()) as ports:
        home = Home(folder)
        home.create()
        nats_port, valkey_port = ports.take(), ports.take()
        (home.run / "nats.conf").write_text(nats_conf(home, nats_port, ports.take(), sync_always=False))
        (home.run / "valkey.conf").write_text(valkey_conf(home, valkey_port))
        nats = Process("nats", [provision.nats_server(), "-c", home.run / "nats.conf"], folder)
        valkey = Process("valkey", [provision.valkey_server(), home.run / "valkey.conf"], folder)
        found = Stores(
            f"nats://{HOST}:{nats_port}", f"redis://{HOST}:{valkey_port}", nats, valkey, folder, ports
        )
        try:
            nats.start()
            valkey.start()
            wait_for(lambda: listens(nats_port) and listens(valkey_port), "the stores listen")
            yield found
        finally:
            for process in (*found.processes, valkey, nats):
                process.end()


@dataclass
class Cluster:
    """Three masters of Valkey with all slots between them."""

    url: str
    ports: list[int]
    nodes: list[Process]

    def node(self, index: int) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.ports[index])

    def is_well(self) -> bool:
        """Every node says so."""
        with contextlib.suppress(redis.RedisError):
            return all(_cluster_state(port) == "ok" for port in self.ports)
        return False


def _cluster_state(port: int) -> str:
    with redis.Redis(host=HOST, port=port) as client:
        return str(client.cluster("INFO")["cluster_state"])


@contextlib.contextmanager
def valkey_cluster(folder: Path, nodes: int = 3) -> Iterator[Cluster]:
    """Started, joined, and well."""
    with contextlib.closing(Ports()) as claims:
        ports = [claims.take() for _ in range(nodes)]
        buses = [claims.take() for _ in range(nodes)]
        processes = []
        for index, (port, bus) in enumerate(zip(ports, buses, strict=True)):
            place = folder / f"node-{index}"
            place.mkdir(parents=True)
            options = {
                "port": port,
                "bind": HOST,
                "dir": place,
                "cluster-enabled": "yes",
                "cluster-port": bus,
                "cluster-node-timeout": 2000,
                "appendonly": "yes",
                "save": "",
            }
            command = [provision.valkey_server()]
            for name, value in options.items():
                command += [f"--{name}", str(value)]
            processes.append(Process(f"node-{index}", command, folder))
        cluster = Cluster(f"redis://{HOST}:{ports[0]}", ports, processes)
        try:
            for process in processes:
                process.start()
            wait_for(lambda: all(map(listens, ports)), "the nodes listen")
            share = -(-16_384 // nodes)
            for index, port in enumerate(ports):
                with redis.Redis(host=HOST, port=port) as client:
                    first, last = index * share, min((index + 1) * share, 16_384) - 1
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                    client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                    if index:
                        client.execute_command("CLUSTER", "MEET", HOST, ports[0], buses[0])
            wait_for(cluster.is_well, "the cluster is well")
            wait_for(lambda: all(_known(port) == nodes for port in ports), "the nodes know each other")
            yield cluster
        finally:
            for process in processes:
                process.end()


def _known(port: int) -> int:
    with redis.Redis(host=HOST, port=port) as client:
        return int(client.cluster("INFO")["cluster_known_nodes"])


async def eventually(ask: Callable[[], Awaitable[T]], what: str, within_s: float = PATIENCE_S) -> T:
    """The first true answer; fails naming what did not come about."""
    give_up_at = time.monotonic() + within_s
    while not (answer := await ask()):
        assert time.monotonic() < give_up_at, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.02)
    return answer
