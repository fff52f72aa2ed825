"""Three nats-servers with JetStream, clustered, on free ports and in folders of their own.

Any of them can be killed, stopped, continued and started again on its port and files. All end with
their `with`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from nats.errors import Error as NatsError

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import until
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, eventually, listens
from toolbox.local import provision
from toolbox.local.ports import Ports

NODES = 3


class NatsCluster:
    """`url` names all the servers, with commas between them."""

    def __init__(self, nodes: list[Process], ports: list[int]) -> None:
        self.nodes = nodes
        self.ports = ports
        self.url = ",".join(map(self.url_of, nodes))

    def url_of(self, node: Process) -> str:
        return f"nats://{HOST}:{self.ports[self.nodes.index(node)]}"

    async def leader(self, bus: Bus) -> Process:
        """Of the event stream; waits until there is one that can reach all the others."""

        async def led() -> str:
            with contextlib.suppress(NatsError, TimeoutError):
                found = (await bus.js.stream_info(subjects.EVENTS_STREAM)).cluster
                peers = (found.replicas or []) if found is not None else []
                if len(peers) == NODES - 1 and all(peer.current and not peer.offline for peer in peers):
                    assert found is not None
                    return found.leader or ""
            return ""

        name = await eventually(led, "the event stream has a leader and all its followers")
        return next(node for node in self.nodes if node.name == name)

    async def stop(self, node: Process) -> None:
        """SIGSTOP, and waits until every thread stands still: the signal alone takes its time."""
        node.send_signal(signal.SIGSTOP)
        await until(lambda: _stands_still(node), f"{node.name} stands still")


def _stands_still(node: Process) -> bool:
    threads = Path(f"/proc/{node.pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


@contextlib.contextmanager
def nats_cluster(folder: Path) -> Iterator[NatsCluster]:
    """Started and listening; JetStream may still be choosing its leader."""
    with contextlib.closing(Ports()) as claims:
        ports = [claims.take() for _ in range(NODES)]
        routes = [claims.take() for _ in range(NODES)]
        nodes = []
        for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
            home = folder / f"nats-{number}"
            home.mkdir(parents=True)
            others = ", ".join(f'"nats://{HOST}:{other}"' for other in routes if other != route)
            (home / "nats.conf").write_text(
                "\n".join(
                    [
                        f'server_name: "nats-{number}"',
                        f'listen: "{HOST}:{port}"',
                        f'jetstream {{ store_dir: "{home}" }}',
                        f'cluster {{ name: "test", listen: "{HOST}:{route}", routes: [{others}] }}',
                        "",
                    ]
                )
            )
            nodes.append(
                Process(f"nats-{number}", [provision.nats_server(), "-c", home / "nats.conf"], folder)
            )
        try:
            for node in nodes:
                node.start()
            wait_for(lambda: all(map(listens, ports)), "the cluster listens")
            yield NatsCluster(nodes, ports)
        finally:
            for node in nodes:
                node.end()
