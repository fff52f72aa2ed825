"""What the fan-out benchmarks run: the mesh's way to its viewers, the baseline, the peers, the viewers.

ours        publisher ─▶ Valkey, nats-server ─▶ gateway ─▶ Envoy, as `up` configures it ─▶ viewers
grpc.aio    the same, with a gateway of grpc.aio streams
nchan       publisher ─▶ nginx with Nchan, as many workers as Envoy has ─▶ EventSource (or WebSocket)
socket-io   publisher ─▶ Node with Socket.IO ─▶ WebSocket
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from bench._bed import GAME, Bed
from bench._child import HOST, BenchChild
from bench._peers import SOCKET_IO, Nchan, SocketIo
from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import Endpoint, EnvoyConfig, SocketPath
from mesh.envoy.contract import KINDS
from toolbox.local import exempt, provision
from toolbox.local.keys import own_keys
from toolbox.local.stores import valkey_conf

CONCURRENCY = max(1, min(8, (os.cpu_count() or 1) // 2))
"""Of Envoy, as `up` has it, and so of nginx."""
CONNECTIONS_MAX = 16_000
BASELINE_GAME = "bench-grpc-aio"
"""A game of its own: what is published for one is not sent by the other."""


class FanBed:
    """Starts them, each once or as often as asked; they end with the bed."""

    def __init__(self, ground: Bed) -> None:
        self._ground = ground
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        port = ground.ports.take()
        self.redis_url = f"redis://{HOST}:{port}"
        config = ground.home.run / "valkey.conf"
        config.write_text(valkey_conf(ground.home, port))
        self.valkey = ground.start("valkey", [provision.valkey_server(), config], port)
        # A gateway's stream to ingest is open in life, too; it has nothing to carry here.
        self._ingest = ground.ingest("ingest-1")

    def gateway(self, instance: str) -> BenchChild:
        port = self._ground.ports.take()
        command: list[str | Path] = [sys.executable, "-m", "gateway", "--instance", instance]
        command += ["--listen", f"{HOST}:{port}", "--nats", self._ground.nats_url, "--redis", self.redis_url]
        command += [
            "--mesh",
            f"{HOST}:{self._ingest.port}",
            "--keys",
            self._ground.keys,
            "--mesh-key",
            self._ground.mesh_key,
            *exempt.arguments(exempt=exempt.own_networks()),
        ]
        return self._ground.start(instance, command, port)

    def grpc_aio(self) -> BenchChild:
        port = self._ground.ports.take()
        command = [sys.executable, "-m", "bench._grpc_aio_gateway", f"{HOST}:{port}"]
        command += [self._ground.nats_url, BASELINE_GAME]
        return self._ground.start("grpc-aio", command, port)

    def envoy(self, name: str, *gateways: BenchChild) -> BenchChild:
        """In front of these, configured as `up` does it."""
        edge, mesh = self._ground.ports.take(), self._ground.ports.take()
        nobody = (Endpoint(HOST, 1),)
        config = EnvoyConfig(
            edge=Endpoint(HOST, edge),
            mesh=Endpoint(HOST, mesh),
            admin=SocketPath(str(self._ground.home.sockets / f"{name}.sock")),
            replicas=dict.fromkeys(KINDS, nobody)
            | {"gateway": tuple(Endpoint(HOST, gateway.port) for gateway in gateways)},
            keys=own_keys(self._ground.home).edge,
            connections_max=CONNECTIONS_MAX,
            address_rates=False,
        )
        file = self._ground.folder / f"{name}.json"
        file.write_text(json.dumps(bootstrap(config)))
        command: list[str | Path] = [provision.envoy(), "-c", file, "--disable-hot-restart"]
        command += ["--concurrency", str(CONCURRENCY), "--log-level", "warning"]
        return self._ground.start(name, command, edge)

    def nchan(self, found: Nchan, subscriber: str) -> BenchChild:
        port = self._ground.ports.take()
        folder = self._ground.folder / f"nchan-{subscriber}"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(nginx_conf(port, found.module, folder, subscriber))
        command: list[str | Path] = [found.program, "-p", folder, "-c", config, "-e", "stderr"]
        return self._ground.start(f"nchan-{subscriber}", command, port)

    def socket_io(self, found: SocketIo) -> tuple[BenchChild, int]:
        """And the port where it is told what to emit."""
        port, control = self._ground.ports.take(), self._ground.ports.take()
        script = SOCKET_IO / "server.cjs"
        command: list[str | Path] = [found.node, script, found.modules, str(port), str(control)]
        return self._ground.start("socket-io", command, port), control

    def publisher(self, name: str, *, game_id: str) -> BenchChild:
        """Of a game's results."""
        to = ["nats", self._ground.nats_url, self.redis_url, game_id]
        command = [sys.executable, "-m", "bench._publisher", *to]
        return self._ground.start(f"publisher-{name}", command, talks=True)

    def teller(self, name: str, kind: str, port: int) -> BenchChild:
        """The publisher of a peer."""
        command = [sys.executable, "-m", "bench._publisher", kind, str(port)]
        return self._ground.start(f"publisher-{name}", command, talks=True)

    def viewers(self, name: str, wire: str, port: int, game_id: str = GAME) -> BenchChild:
        command = [sys.executable, "-m", "bench._viewers", wire, str(port), game_id]
        return self._ground.start(f"viewers-{name}", command, talks=True)


def nginx_conf(port: int, module: Path, folder: Path, subscriber: str) -> str:
    """A channel for each game, of which the newest message is kept for who comes; nothing logged, nothing
    compressed."""
    # Root's workers are another user by default, who has no business in our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return f"""
{user}
daemon off;
load_module "{module}";
pid "{folder}/nginx.pid";
worker_processes {CONCURRENCY};
worker_rlimit_nofile {CONNECTIONS_MAX + 1000};
events {{ worker_connections {CONNECTIONS_MAX}; multi_accept on; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  gzip off;
  nchan_shared_memory_size 256M;
  {" ".join(f'{place}_temp_path "{folder}/{place}";' for place in places)}
  server {{
    listen {HOST}:{port} backlog=4096;
    location = /publish {{
      nchan_publisher;
      nchan_channel_id $arg_game;
      nchan_message_buffer_length 1;
      nchan_message_timeout 10m;
    }}
    location = /watch {{
      nchan_subscriber {subscriber};
      nchan_channel_id $arg_game;
      nchan_subscriber_first_message oldest;
    }}
  }}
}}
"""
