"""One `python -m ingest` on a nats-server of its own, with a catalog, and nothing else of the mesh.

For tests that attack it with bytes, look at its memory, or take its NATS away. Everything runs on free
ports in a temporary folder and ends with its `with`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from nats.js import api as js_api

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import until
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, listens
from toolbox.local import development, exempt, provision
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.stores import nats_conf

GAME = "g"
OTHER_GAME = "h"
PUBLISH = "/grandstand.ingest.v1.IngestService/Publish"
CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
Definition = Game | Poll | Board


def definitions(game_id: str = GAME, spread: int = 3) -> dict[str, Definition]:
    """By their keys: polls `mvp` and `closed`, board `top`, pulse `cheer`, metric `delay`, custom `own`."""
    options = [PollOption(option_id=option, label=option) for option in ("red", "blue")]

    def poll(poll_id: str, stage: Any) -> Poll:
        return Poll(
            game_id=game_id,
            poll_id=poll_id,
            question="Who?",
            options=options,
            stage=stage,
            changeable=True,
            choices_max=2,
            weight_max=5,
        )

    game = Game(
        game_id=game_id,
        title="Game",
        spread=spread,
        audience=True,
        pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])],
        metrics=[Metric(metric_id="delay")],
        customs=[CustomTopic(custom_id="own")],
    )
    board = Board(game_id=game_id, board_id="top", title="Top", mode=BOARD_MODE_SUM, stage=STAGE_OPEN)
    return {
        subjects.game_key(game_id): game,
        subjects.poll_key(game_id, "mvp"): poll("mvp", STAGE_OPEN),
        subjects.poll_key(game_id, "closed"): poll("closed", STAGE_SEALED),
        subjects.board_key(game_id, "top"): board,
    }


def score(origin_seq: int, **fields: Any) -> Event:
    """A point on the board, by the stream's actor."""
    given = {"game_id": GAME, "score": Score(board_id="top", points=1)} | fields
    return Event(origin_seq=origin_seq, **given)


def said(**fields: Any) -> bytes:
    return PublishRequest(**fields).SerializeToString()


def batch(*events: Event) -> bytes:
    return said(events=EventBatch(events=events))


HELLO = said(hello=Hello())


class RawStream:
    """A Publish stream that says any bytes, and hears all that is answered.

    Built on grpc's threads: grpc.aio tells INTERNAL, `Internal error from Core`, instead of what the server
    said when a write meets the end of a stream (grpc/grpc#36066), and here that end is what is asked for.
    """

    def __init__(self, channel: grpc.Channel, token: str | None) -> None:
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        method = channel.stream_stream(PUBLISH, response_deserializer=PublishResponse.FromString)
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._heard: asyncio.Queue[PublishResponse | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._call: Any = method(iter(self._said.get, None), metadata=metadata)
        threading.Thread(target=self._listen, daemon=True).start()

    async def __aenter__(self) -> RawStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self.half_close()

    def say(self, data: bytes) -> None:
        """It leaves soon, in order; not at all once the stream has ended."""
        self._said.put(data)

    def request(self, **fields: Any) -> None:
        self.say(said(**fields))

    def events(self, *events: Event) -> None:
        self.request(events=EventBatch(events=events))

    def half_close(self) -> None:
        self._said.put(None)

    async def hear(self) -> PublishResponse | None:
        """None once the stream has ended."""
        return await self._heard.get()

    async def ending(self) -> tuple[grpc.StatusCode, str, list[PublishResponse]]:
        """Hears the rest: how the stream ended, and what was heard."""
        heard = []
        while (response := await self.hear()) is not None:
            heard.append(response)
        return self._call.code(), self._call.details() or "", heard

    def _listen(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for response in self._call:
                self._tell(response)
        self._tell(None)

    def _tell(self, response: PublishResponse | None) -> None:
        with contextlib.suppress(RuntimeError):  # the test is over
            self._loop.call_soon_threadsafe(self._heard.put_nowait, response)


class LoneIngest:
    """Its address, its memory, and tokens that it takes."""

    def __init__(self, folder: Path, ports: Ports, arguments: Iterable[str]) -> None:
        home = Home(folder)
        home.create()
        self.home = home.root
        development.ensure_development_key(self.home)
        port, nats_port = ports.take(), ports.take()
        self.address = f"{HOST}:{port}"
        self.nats_port = nats_port
        self.nats_url = f"nats://{HOST}:{nats_port}"
        (home.run / "nats.conf").write_text(nats_conf(home, nats_port, ports.take(), sync_always=False))
        self.nats = Process("nats", [provision.nats_server(), "-c", home.run / "nats.conf"], folder)
        self.process = Process(
            "ingest-1",
            [
                *(sys.executable, "-m", "ingest", "--instance", "ingest-1", "--listen", self.address),
                *("--nats", self.nats_url, "--redis", f"redis://{HOST}:1", "--mesh", f"{HOST}:1"),
                *("--keys", self.home / development.DEVELOPMENT_KEY),
                *("--mesh-key", development.ensure_mesh_key(self.home)),
                *arguments,
            ],
            folder,
        )
        self._listens = lambda: listens(port)
        self._nats_listens = lambda: listens(nats_port)

    def start(self) -> None:
        """Returns when it serves, and knows the catalog."""
        self.nats.start()
        wait_for(self._nats_listens, "nats listens")
        asyncio.run(self._define())
        self.process.start()
        wait_for(lambda: self._listens() or not self.process.running, "ingest listens")
        assert self.process.running, self.process.said()[-2_000:]

    def end(self) -> None:
        for process in (self.process, self.nats):
            process.end()

    async def _define(self) -> None:
        bus = await Bus.connect(self.nats_url, "definitions")
        try:
            await bus.ensure_events_stream()
            config = js_api.KeyValueConfig(bucket=subjects.CATALOG_BUCKET, storage=js_api.StorageType.FILE)
            bucket = await bus.js.create_key_value(config)
            for key, definition in (definitions() | definitions(OTHER_GAME)).items():
                await bucket.put(key, definition.SerializeToString())
        finally:
            await bus.close()

    def token(self, actor_id: str = "ann", **claims: Any) -> str:
        return development.development_token(self.home, actor_id, **claims)

    def producer_token(self, actor_id: str = "server") -> str:
        return self.token(actor_id, roles=["producer"])

    @property
    def pid(self) -> int:
        return self.process.pid

    def rss_bytes(self) -> int:
        return self._memory("VmRSS")

    def peak_bytes(self) -> int:
        """The most there ever was."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("ingest has no memory")

    def channel(self) -> grpc.Channel:
        """A connection of its own, to be closed by `with`."""
        return grpc.insecure_channel(self.address, CONNECTION)


class Witness:
    """A well-behaved stream beside an attack: one score at a time, each waited for."""

    def __init__(self) -> None:
        self.acked = 0
        self.slowest_s = 0.0
        self._stopping = False

    async def run(self, ingest: LoneIngest) -> None:
        with ingest.channel() as channel:
            async with RawStream(channel, ingest.token("witness")) as stream:
                await self._send(stream)

    async def _send(self, stream: RawStream) -> None:
        stream.request(hello=Hello())
        assert (welcome := await stream.hear()) is not None
        assert welcome.HasField("welcome")
        while not self._stopping:
            began = time.monotonic()
            seq = self.acked + 1
            stream.events(score(seq))
            while self.acked < seq:
                response = await stream.hear()
                assert response is not None, (await stream.ending())[:2]
                assert not response.HasField("reject"), response
                self.acked = max(self.acked, response.ack.origin_seq)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.03)
        stream.half_close()
        code, details, _ = await stream.ending()
        assert code == grpc.StatusCode.OK, details

    async def once_more(self) -> None:
        """Another event is acked, sent after this was called."""
        wanted = self.acked + 2
        await until(lambda: self.acked >= wanted, "the stream beside goes on being acked")

    def stop(self) -> None:
        self._stopping = True


@contextlib.asynccontextmanager
async def witness(ingest: LoneIngest) -> AsyncIterator[Witness]:
    """A stream that goes on being acked while the body attacks, and after; fails if it does not."""
    found = Witness()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(found.run(ingest))
        await found.once_more()
        yield found
        await found.once_more()
        found.stop()
        await running
    assert ingest.process.running, ingest.process.said()[-2_000:]


@contextlib.contextmanager
def lone_ingest(
    folder: Path,
    *arguments: str,
    addresses: Sequence[str] = exempt.arguments(exempt=exempt.own_networks()),
) -> Iterator[LoneIngest]:
    """Started and serving; `arguments` are added to its command, and `addresses`, those about them; else this
    machine's have no bound."""
    with contextlib.closing(Ports()) as ports:
        found = LoneIngest(folder, ports, [*arguments, *addresses])
        try:
            found.start()
            yield found
        finally:
            found.end()
