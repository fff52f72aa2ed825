"""A Valkey with a replica, and Sentinels that watch them: what fails over behind open connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from grandstand.wire import bounds as wire_bounds
from mesh.redis import layout
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, listens
from toolbox.local import provision
from toolbox.local.ports import Ports

SERVICE = "mymaster"


@dataclass
class Replicas:
    """Index 0 is the master at first."""

    ports: list[int]
    servers: list[Process]
    sentinel_ports: list[int] = field(default_factory=list)
    password: str = ""

    def client(self, index: int) -> redis.Redis:
        return _client(self.ports[index], self.password)

    def sentinel(self, index: int) -> redis.Redis:
        return _client(self.sentinel_ports[index], self.password and sentinel_password(self.password))

    def role(self, index: int) -> str:
        with self.client(index) as client:
            return str(client.info("replication")["role"])

    def applied(self, index: int) -> dict[int, int]:
        """Up to which sequence each partition is folded there."""
        with self.client(index) as client:
            return {p: int(client.get(layout.applied_key(p)) or 0) for p in range(wire_bounds.PARTITIONS)}

    def master_by_sentinel(self, number: int) -> int | None:
        """The port of the master that this Sentinel names and thinks to be up."""
        with self.sentinel(number) as sentinel:
            state = sentinel.sentinel_master(SERVICE)
            return int(state["port"]) if state["flags"] == "master" else None

    def promote(self, index: int) -> None:
        """The other becomes its replica. Nobody's connection is closed."""
        with self.client(index) as new, self.client(1 - index) as old:
            new.replicaof("NO", "ONE")
            old.replicaof(HOST, str(self.ports[index]))

    def cut(self, index: int) -> None:
        """From here on the replica `index` falls behind."""
        with self.client(index) as client:
            client.replicaof(HOST, "1")


@contextlib.contextmanager
def valkey_replicas(folder: Path, sentinels: int = 0, password: str = "") -> Iterator[Replicas]:
    """Started, the replica in step."""
    with contextlib.closing(Ports()) as claims:
        ports = [claims.take() for _ in range(2)]
        servers = []
        for index, port in enumerate(ports):
            place = folder / f"valkey-{index}"
            place.mkdir(parents=True)
            options = {
                "port": port,
                "bind": HOST,
                "dir": place,
                "save": "",
                "appendonly": "no",
                "repl-diskless-sync-delay": 0,
                "replica-read-only": "yes",
                **({"requirepass": password, "masterauth": password} if password else {}),
                **({"replicaof": f"{HOST} {ports[0]}"} if index else {}),
            }
            servers.append(_server(folder, f"valkey-{index}", options))
        found = Replicas(ports, servers, [claims.take() for _ in range(sentinels)], password)
        watchers = [_sentinel(folder, found, n, password) for n in range(sentinels)]
        try:
            for process in servers:
                process.start()
            wait_for(lambda: all(map(listens, ports)), "the servers listen")
            with found.client(1) as replica:
                wait_for(
                    lambda: replica.info("replication").get("master_link_status") == "up",
                    "the replica is in step",
                )
            for process in watchers:
                process.start()
            for index in range(sentinels):
                with found.sentinel(index) as sentinel:
                    wait_for(partial(_sees_all, sentinel, sentinels), "the Sentinels know all")
            yield found
        finally:
            for process in (*watchers, *servers):
                process.end()


def sentinel_password(password: str) -> str:
    """The Sentinels' own, beside the servers'."""
    return f"{password}-s"


def _client(port: int, password: str) -> redis.Redis:
    return redis.Redis(host=HOST, port=port, password=password or None, socket_timeout=5)


def _server(folder: Path, name: str, options: dict[str, object]) -> Process:
    conf = folder / f"{name}.conf"
    conf.write_text("".join(f'{key} "{value}"\n' for key, value in options.items()))
    return Process(name, [provision.valkey_server(), conf], folder)


def _sentinel(folder: Path, of: Replicas, number: int, password: str) -> Process:
    place = folder / f"sentinel-{number}"
    place.mkdir(parents=True)
    lines = [
        f"port {of.sentinel_ports[number]}",
        f"bind {HOST}",
        f'dir "{place}"',
        f"sentinel monitor {SERVICE} {HOST} {of.ports[0]} {min(2, len(of.sentinel_ports))}",
        f"sentinel down-after-milliseconds {SERVICE} 500",
        f"sentinel failover-timeout {SERVICE} 2000",
        *([f"sentinel auth-pass {SERVICE} {password}"] if password else []),
        *([f"requirepass {sentinel_password(password)}"] if password else []),
        *([f"sentinel sentinel-pass {sentinel_password(password)}"] if password else []),
    ]
    conf = place / "sentinel.conf"
    conf.write_text("\n".join(lines) + "\n")
    return Process(f"sentinel-{number}", [provision.valkey_server(), conf, "--sentinel"], folder)


def _sees_all(sentinel: redis.Redis, sentinels: int) -> bool:
    with contextlib.suppress(redis.RedisError):
        state = sentinel.sentinel_master(SERVICE)
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == sentinels - 1)
    return False
