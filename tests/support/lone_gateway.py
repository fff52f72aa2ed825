"""One `python -m gateway` on a nats-server and a Valkey of its own, with a catalog, and nothing else.

For tests that attack it, look at its memory, or keep a result from it. The test itself plays aggregation: it
says what the one poll's tally is, to the store, to core NATS, or to both. Everything runs on free ports in a
temporary folder and ends with its `with`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import redis
from nats.js import api as js_api

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.internal.v1.internal_pb2 import GameResults, Partial, PartitionResults, TallyPartial
from grandstand.wire import ids
from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import Endpoint, EnvoyConfig, SocketPath
from mesh.envoy.contract import KINDS
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from tests.support.games import until
from tests.support.lone_ingest import CONNECTION, GAME, definitions
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, Stores, listens, stores
from toolbox.local import development, exempt, provision
from toolbox.local.home import Home
from toolbox.local.keys import own_keys

POLL = "poll/mvp"
WIDE_POLL = "poll/wide"
(PARTITION,) = ids.partitions_of(GAME, 1)


class LoneGateway:
    """Its address, its memory, and tokens that it takes."""

    def __init__(self, around: Stores, addresses: Sequence[str] = ()) -> None:
        self.stores = around
        self.home = around.folder
        port = around.ports.take()
        self.address = f"{HOST}:{port}"
        self._listens = lambda: listens(port)
        self.process = Process(
            "gateway-1",
            [
                *(sys.executable, "-m", "gateway", "--instance", "gateway-1", "--listen", self.address),
                *("--nats", around.nats_url, "--redis", around.redis_url, "--mesh", f"{HOST}:1"),
                *("--keys", development.ensure_development_key(self.home)),
                *("--mesh-key", development.ensure_mesh_key(self.home), *addresses),
            ],
            around.folder,
        )
        around.processes.append(self.process)

    def start(self) -> None:
        """Returns when it serves, and knows the catalog."""
        asyncio.run(self._define())
        self.process.start()
        wait_for(lambda: self._listens() or not self.process.running, "the gateway listens")
        assert self.process.running, self.process.said()[-2_000:]

    async def _define(self) -> None:
        bus = await Bus.connect(self.stores.nats_url, "definitions")
        try:
            config = js_api.KeyValueConfig(bucket=subjects.CATALOG_BUCKET, storage=js_api.StorageType.FILE)
            bucket = await bus.js.create_key_value(config)
            for key, definition in definitions(spread=1).items():
                await bucket.put(key, definition.SerializeToString())
        finally:
            await bus.close()

    def bearer(self, actor_id: str, **claims: Any) -> list[tuple[str, str]]:
        """The metadata that a client with a token shows."""
        token = development.development_token(self.home, actor_id, **claims)
        return [("authorization", f"Bearer {token}")]

    def rss_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the gateway has no memory")

    def cpu_s(self) -> float:
        """Used since it began."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    @contextlib.asynccontextmanager
    async def stub(self, address: str = "") -> AsyncIterator[Any]:
        """On a connection of its own."""
        async with grpc.aio.insecure_channel(address or self.address, CONNECTION) as channel:
            yield GatewayServiceStub(channel)

    def envoy(self, *, address_rates: bool = True) -> Endpoint:
        """The edge of an Envoy in front of it, as `up` configures it; without `address_rates`, an address may
        ask there as fast as it likes."""
        ports, nowhere = self.stores.ports, Endpoint(HOST, 1)
        host, _, port = self.address.rpartition(":")
        config = EnvoyConfig(
            edge=Endpoint(HOST, ports.take()),
            mesh=Endpoint(HOST, ports.take()),
            admin=SocketPath(str(Home(self.home).envoy_admin)),
            replicas=dict.fromkeys(KINDS, (nowhere,)) | {"gateway": (Endpoint(host, int(port)),)},
            keys=own_keys(Home(self.home)).edge,
            address_rates=address_rates,
        )
        Home(self.home).create()
        file = self.home / "envoy.json"
        file.write_text(json.dumps(bootstrap(config)))
        command: list[str | Path] = [provision.envoy(), "-c", file, "--disable-hot-restart"]
        command += ["--concurrency", "1", "--log-level", "warning"]
        process = Process("envoy", command, self.home)
        self.stores.processes.append(process)
        process.start()
        wait_for(lambda: listens(config.edge.port), "envoy listens")
        return config.edge

    @contextlib.asynccontextmanager
    async def results(self) -> AsyncIterator[Results]:
        bus = await Bus.connect(self.stores.nats_url, "results")
        with redis.Redis.from_url(self.stores.redis_url) as store:
            try:
                yield Results(bus, store)
            finally:
                await bus.close()


class Results:
    """What aggregation would say of the poll. Its numbers rise, also over several of these."""

    def __init__(self, bus: Bus, store: redis.Redis) -> None:
        self._bus = bus
        self._store = store
        self._topics = {name.decode() for name in self._store.hkeys(layout.results_key(PARTITION, GAME))}
        self._topics.discard("!at")
        self._store.set(layout.stream_key(PARTITION), "played 0")
        self.is_wide = False
        """A second poll, of some 4 KiB, changes along: who watches everything has much to take."""

    @property
    def sequence(self) -> int:
        """The newest one."""
        return int(self._store.get(layout.applied_key(PARTITION)) or 0)  # type: ignore[arg-type]

    async def show(self, *, told: bool = True, topic: str = POLL) -> Position:
        """One vote more for red, in the store, and, if `told`, also on core NATS. Where that vote is."""
        sequence = self.sequence + 1
        states = {topic: ["red", "blue"]}
        if self.is_wide:
            states[WIDE_POLL] = [f"{n:064}" for n in range(64)]
        partials = {name: _partial(name, options, sequence) for name, options in states.items()}
        with self._store.pipeline(transaction=True) as step:
            results, manifest = layout.results_key(PARTITION, GAME), layout.manifest_key(PARTITION)
            step.set(layout.applied_key(PARTITION), sequence)
            self._topics |= partials.keys()
            step.hset(results, mapping={**partials, "!at": sequence})  # type: ignore[arg-type]
            entry = f"{sequence} {len(self._topics) + 1}"
            step.hset(manifest, mapping={"!at": sequence, layout.name_of(results): entry})
            step.execute()
        if told:
            said = PartitionResults(
                partition=PARTITION,
                before=sequence - 1,
                after=sequence,
                stream="played",
                games=[GameResults(game_id=GAME, partials=list(partials.values()))],
            )
            await self._bus.client.publish(subjects.results(PARTITION), said.SerializeToString())
            await self._bus.client.flush()
        return Position(partition=PARTITION, sequence=sequence)


def _partial(topic: str, options: Sequence[str], sequence: int) -> bytes:
    votes = [sequence] + [0] * (len(options) - 1)
    return Partial(
        game_id=GAME,
        topic=topic,
        partition=PARTITION,
        sequence=sequence,
        stage=STAGE_OPEN,
        tally=TallyPartial(option_ids=options, votes=votes, voters=sequence),
    ).SerializeToString()


SOON_S = 10.0
SOON_CPU_S = 1.5
"""Of the gateway's, until a new state is seen: what it does for others first. Unlike the wall's clock, it is
the same however little of its machine a test run is given."""


class Healthy:
    """A viewer as it should be, beside whatever is done to the gateway: it sees every new state soon."""

    def __init__(self, gateway: LoneGateway, call: Any, results: Results) -> None:
        self._gateway = gateway
        self._call = call
        self._results = results
        self.seen = -1

    async def read(self) -> None:
        async for response in self._call:
            for state in states_of(response):
                votes = red(state)
                assert votes >= self.seen, "time runs forwards (I5)"
                self.seen = votes

    async def sees_the_next(self, *, told: bool = True) -> float:
        """After how many seconds a new state is seen, which must be soon; `told`: by core NATS."""
        position = await self._results.show(told=told)
        began_s, cpu_s = time.monotonic(), self._gateway.cpu_s()
        await until(lambda: self.seen >= position.sequence, "the healthy viewer sees the newest state")
        took_s, cpu_s = time.monotonic() - began_s, self._gateway.cpu_s() - cpu_s
        assert took_s < SOON_S
        assert cpu_s < SOON_CPU_S
        return took_s

    @contextlib.asynccontextmanager
    async def sees_all_the_time(self) -> AsyncIterator[list[float]]:
        """New states follow each other while the body runs, and each is seen soon. Yields how late."""
        lags_s, is_over = list[float](), asyncio.Event()

        async def go_on() -> None:
            while not is_over.is_set():
                lags_s.append(await self.sees_the_next())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(go_on())
            yield lags_s
            # Not by cancelling: nats-py does not outlive a flush that is cancelled.
            is_over.set()


@contextlib.asynccontextmanager
async def healthy(gateway: LoneGateway, results: Results, address: str = "") -> AsyncIterator[Healthy]:
    """Sees a new state before the body, and another after it; all the time without a break.

    A producer: a gateway made hot by the body lowers others' rates.
    """
    async with gateway.stub(address) as stub:
        call = stub.Subscribe(
            SubscribeRequest(game_id=GAME, topics=[POLL]), metadata=gateway.bearer("", roles=["producer"])
        )
        viewer = Healthy(gateway, call, results)
        reading = asyncio.create_task(viewer.read())
        try:
            await viewer.sees_the_next()
            yield viewer
            await viewer.sees_the_next()
            assert not reading.done(), "it was never cut off"
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


def states_of(response: SubscribeResponse) -> Sequence[Any]:
    """Of a Snapshot or an Update."""
    return list(response.snapshot.topics) or list(response.update.topics)


def red(state: Any) -> int:
    return int(state.tally.options[0].votes) if state.tally.options else 0


@contextlib.contextmanager
def lone_gateway(
    folder: Path, addresses: Sequence[str] = exempt.arguments(exempt=exempt.own_networks())
) -> Iterator[LoneGateway]:
    """`addresses`: its arguments about them; else those of this machine have no bound."""
    with stores(folder) as around:
        gateway = LoneGateway(around, addresses)
        gateway.start()
        yield gateway
