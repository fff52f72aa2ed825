"""What the ingest benchmark measures, and beside what: a nats-server, ingests, the floor, the peer.

All are real processes on free ports, in a temporary folder, and end with the body of `bed`. The catalog is
the real bucket, with one game, an open poll, a board and a pulse in it; no aggregation runs, so that the
cores are left to what is measured. Ingest's rates are set beyond what it could ever take: the run shall
meet no other bound than the process itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nats.js import api as js_api

from bench._child import HOST, BenchChild
from bench._messages import BOARD, KINDS, OPTIONS, POLL, PULSE, actor_of
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, STAGE_OPEN, Board, Game, Poll, PollOption, Pulse
from mesh.auth import PRODUCER, Identity
from mesh.auth.origins import ENTROPY_BYTES
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from toolbox.local import development, exempt, provision
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.stores import nats_conf

GAME = "bench"
_NO_LIMIT = "1e12:1e12"
_TOKEN_LIFE_S = 3600.0

Metadata = Sequence[tuple[str, str]]


class Bed:
    """Its processes; `bed` makes one."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder = folder
        self.ports = ports
        self._children: list[BenchChild] = []
        home = Home(folder)
        home.create()
        self.home = home
        self.keys = development.ensure_development_key(home.root)
        self.mesh_key = development.ensure_mesh_key(home.root)
        self._origins = development.home_origins(home.root)
        port = ports.take()
        self.nats_url = f"nats://{HOST}:{port}"
        config = home.run / "nats.conf"
        config.write_text(nats_conf(home, port, ports.take(), sync_always=False))
        self.nats = self.start("nats-server", [provision.nats_server(), "-c", config], port)

    def start(
        self, name: str, command: Sequence[str | Path], port: int = 0, *, talks: bool = False
    ) -> BenchChild:
        """A process beside it; ends with the bed. Raises MeshError with what it said if it does not start."""
        child = BenchChild(name, command, self.folder, port=port, talks=talks)
        self._children.append(child)
        child.until_ready()
        return child

    def ingest(self, instance: str) -> BenchChild:
        """A new one, serving."""
        port = self.ports.take()
        command: list[str | Path] = [sys.executable, "-m", "ingest", "--instance", instance]
        command += ["--listen", f"{HOST}:{port}", "--nats", self.nats_url]
        command += ["--redis", f"redis://{HOST}:1", "--mesh", f"{HOST}:1"]
        command += ["--keys", self.keys, "--mesh-key", self.mesh_key]
        for whose in ("actor", "producer", "game", "instance"):
            command += [f"--admit-{whose}", _NO_LIMIT]
        command += exempt.arguments(exempt=exempt.own_networks())
        return self.start(instance, command, port)

    def floor(self) -> BenchChild:
        port = self.ports.take()
        command = [sys.executable, "-m", "bench._floor", f"{HOST}:{port}"]
        return self.start("floor", command, port, talks=True)

    def peer(self) -> BenchChild:
        """nats-py, publishing event by event."""
        return self.start("nats-py", [sys.executable, "-m", "bench._peer", self.nats_url], talks=True)

    def viewer(self, number: int) -> Metadata:
        """What the stream of a viewer shows: a token of its own."""
        return self._shown(actor_of(number))

    def origin(self, number: int) -> str:
        """A new one of a viewer's, for Send."""
        viewer = Identity(actor_of(number), producer=False, games=None, expires_at_s=math.inf)
        return self._origins.issue(
            viewer, producer=False, now_s=time.time(), at_s=0.0, entropy=os.urandom(ENTROPY_BYTES)
        )

    def producer(self, _: int) -> Metadata:
        return self._shown(development.LOCAL_PRODUCER, PRODUCER)

    async def define(self, spread: int) -> None:
        """Puts the game into the catalog, its topics open."""
        options = [PollOption(option_id=each, label=each) for each in OPTIONS]
        definitions = {
            subjects.game_key(GAME): Game(
                game_id=GAME,
                title="Benchmark",
                spread=spread,
                pulses=[Pulse(pulse_id=PULSE, kinds=KINDS)],
            ),
            subjects.poll_key(GAME, POLL): Poll(
                game_id=GAME,
                poll_id=POLL,
                question="Who?",
                options=options,
                stage=STAGE_OPEN,
                changeable=True,
                choices_max=1,
            ),
            subjects.board_key(GAME, BOARD): Board(
                game_id=GAME, board_id=BOARD, title="Top", mode=BOARD_MODE_SUM, stage=STAGE_OPEN
            ),
        }
        bus = await Bus.connect(self.nats_url, "bench")
        try:
            await bus.ensure_events_stream()
            config = js_api.KeyValueConfig(bucket=subjects.CATALOG_BUCKET, storage=js_api.StorageType.FILE)
            bucket = await bus.js.create_key_value(config)
            for key, definition in definitions.items():
                await bucket.put(key, definition.SerializeToString())
        finally:
            await bus.close()

    def close(self) -> None:
        for child in reversed(self._children):
            child.end()

    def _shown(self, actor_id: str, *roles: str) -> Metadata:
        token = development.development_token(self.home.root, actor_id, roles=roles, life_s=_TOKEN_LIFE_S)
        return [("authorization", f"Bearer {token}")]


@contextlib.contextmanager
def bed(spread: int) -> Iterator[Bed]:
    """A nats-server with the catalog. Raises MeshError with what a process said that does not start."""
    with (
        tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder,
        contextlib.closing(Ports()) as ports,
        contextlib.closing(Bed(Path(folder), ports)) as made,
    ):
        asyncio.run(made.define(spread))
        yield made
