"""Real Envoy: a process that dies or freezes is routed around, and only idempotent calls are retried."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, ReadResponse
from grandstand.aggregate.v1.aggregate_pb2_grpc import (
    AggregateServiceServicer,
    AggregateServiceStub,
    add_AggregateServiceServicer_to_server,
)
from grandstand.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from grandstand.client import Publisher
from grandstand.event.v1.event_pb2 import Event
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from tests.support.envoy_proxy import CLIENTS_KEY, LOOPBACK, envoy
from tests.support.games import bearing, new_game, run, until, votes_of
from tests.support.mesh_fixture import running
from tests.support.stand_in_ingest import SERVICE
from tests.support.supervision import PATIENT, Watched, supervised
from tests.support.tokens import token
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout
from toolbox.local.spec import GrpcProbe, ProcessSpec

NOTICED_WITHIN_S = 10.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def ports() -> Iterator[Ports]:
    with contextlib.closing(Ports()) as ports:
        yield ports


@contextlib.asynccontextmanager
async def two_ingests(home: Home, ports: Ports) -> AsyncIterator[tuple[Watched, str]]:
    instances = {f"ingest-{n}": ports.take() for n in (1, 2)}
    specs = [
        ProcessSpec(
            name=name,
            command=(sys.executable, "-m", "tests.support.stand_in_ingest", name, str(port)),
            probe=GrpcProbe(port, (SERVICE,)),
            cwd=checkout(),
            grace_s=5.0,
        )
        for name, port in instances.items()
    ]
    proxy, address = envoy(home, ports, {"ingest": tuple(instances.values())}, "ingest")
    async with supervised(home, *specs, proxy, policy=PATIENT) as watched:
        yield watched, address


class Session:
    """One Publish stream; `instance` is who welcomed it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = IngestServiceStub(channel).Publish()
        self.instance = ""

    async def open(self) -> None:
        await self.call.write(PublishRequest(hello=Hello()))
        self.instance = (await self._read()).welcome.origin_id

    async def close(self) -> None:
        """By its half-close: Envoy takes a client that resets hundreds of young streams for an attack."""
        await self.call.done_writing()
        assert await self.call.read() is grpc.aio.EOF

    async def echo(self) -> None:
        """Raises AioRpcError when the stream has ended."""
        await self.call.write(PublishRequest(events=EventBatch(events=[Event(origin_seq=1)])))
        assert (await self._read()).HasField("ack")

    async def _read(self) -> PublishResponse:
        async with asyncio.timeout(NOTICED_WITHIN_S):
            answer = await self.call.read()
        if answer is grpc.aio.EOF:
            # Raises what the stream ended with.
            await self.call
            raise AssertionError("the stream ended without an error")
        assert isinstance(answer, PublishResponse)
        return answer


async def session_on(channel: grpc.aio.Channel, instance: str) -> Session:
    """A session that Envoy gave to `instance`."""
    async with asyncio.timeout(NOTICED_WITHIN_S):
        while True:
            session = Session(channel)
            await session.open()
            if session.instance == instance:
                return session
            await session.close()


async def instances_of(channel: grpc.aio.Channel, sessions: int) -> set[str] | None:
    """Who welcomed this many sessions opened one after the other; None when one of them failed."""
    found = set()
    for _ in range(sessions):
        session = Session(channel)
        try:
            async with asyncio.timeout(1.0):
                await session.open()
                await session.close()
        except (TimeoutError, grpc.aio.AioRpcError):
            session.call.cancel()
            return None
        found.add(session.instance)
    return found


async def only(channel: grpc.aio.Channel, expected: set[str]) -> None:
    """Waits until thirty sessions in a row are welcomed by exactly the expected instances."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + NOTICED_WITHIN_S
    while (found := await instances_of(channel, 30)) != expected:
        assert loop.time() < give_up_at, f"sessions go to {found}, expected {expected}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_an_ingest_that_stops_is_routed_around(home: Home, ports: Ports, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with (
            two_ingests(home, ports) as (watched, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            await only(channel, {"ingest-1", "ingest-2"})
            doomed, safe = await session_on(channel, "ingest-1"), await session_on(channel, "ingest-2")
            await doomed.echo()
            pid = watched["ingest-1"].pid
            assert pid is not None
            os.kill(pid, number)
            # The stream on it ends instead of hanging, so that its client can go elsewhere.
            with pytest.raises(grpc.aio.AioRpcError):
                await doomed.echo()
            await only(channel, {"ingest-2"})
            await safe.echo()
            if number is signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
                await only(channel, {"ingest-1", "ingest-2"})
                await safe.echo()

    run(scenario())


class FailsEveryOther(AggregateServiceServicer, catalog_pb2_grpc.CatalogServiceServicer):
    """Answers UNAVAILABLE first, and as asked the next time."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def _fail_first(self, name: str, context: grpc.aio.ServicerContext) -> None:
        self.calls.append(name)
        if self.calls.count(name) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the first try fails")

    async def Read(self, request: ReadRequest, context: grpc.aio.ServicerContext) -> ReadResponse:
        await self._fail_first("Read", context)
        return ReadResponse()

    async def OpenPoll(
        self, request: catalog_pb2.OpenPollRequest, context: grpc.aio.ServicerContext
    ) -> catalog_pb2.OpenPollResponse:
        await self._fail_first("OpenPoll", context)
        return catalog_pb2.OpenPollResponse()


def test_an_idempotent_call_is_retried_by_envoy_and_a_definition_is_not(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        servicer = FailsEveryOther()
        server = grpc.aio.server()
        add_AggregateServiceServicer_to_server(servicer, server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server)
        port = ports.take()
        health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        await health.set("grandstand.aggregate.v1.AggregateService", health_pb2.HealthCheckResponse.SERVING)
        proxy, address = envoy(home, ports, {"aggregate": (port,)}, "aggregate")
        server.add_insecure_port(f"{LOOPBACK}:{port}")
        await server.start()
        async with supervised(home, proxy, policy=PATIENT), grpc.aio.insecure_channel(address) as nobody:
            for call in (
                AggregateServiceStub(nobody).Read(ReadRequest(), timeout=NOTICED_WITHIN_S),
                catalog_pb2_grpc.CatalogServiceStub(nobody).OpenPoll(catalog_pb2.OpenPollRequest()),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match="Jwt is missing"):
                    await call
            assert servicer.calls == []
            channel = bearing(nobody, token(CLIENTS_KEY))
            await AggregateServiceStub(channel).Read(ReadRequest(), timeout=NOTICED_WITHIN_S)
            assert servicer.calls == ["Read", "Read"]
            with pytest.raises(grpc.aio.AioRpcError, match="the first try fails"):
                await catalog_pb2_grpc.CatalogServiceStub(channel).OpenPoll(catalog_pb2.OpenPollRequest())
            assert servicer.calls == ["Read", "Read", "OpenPoll"]
        await server.stop(None)

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_i2_votes_go_on_while_one_of_two_ingests_is_away(tmp_path: Path, number: signal.Signals) -> None:
    async def scenario(edge: str, backend: str, stop_one: asyncio.Event) -> None:
        async with new_game(edge, backend) as game:
            await game.open_poll()
            async with contextlib.AsyncExitStack() as stack:
                publishers = [
                    await stack.enter_async_context(Publisher(game.edge, producer=True)) for _ in range(8)
                ]

                async def vote(n: int) -> None:
                    await publishers[n % 8].send(game.vote(f"actor-{n}", "red" if n % 2 else "blue"))

                await asyncio.gather(*(vote(n) for n in range(40)))
                stop_one.set()
                receipts = await asyncio.gather(*(vote(n) for n in range(40, 400)))
                assert len(receipts) == 360
            async with game.watching("poll/*") as viewer:
                await until(lambda: viewer.states["poll/mvp"].tally.voters == 400, "all are counted")
                assert votes_of(viewer.states["poll/mvp"]) == {"red": 200, "blue": 200}

    with running(tmp_path, "--ingest", "2") as mesh:

        async def stopping() -> None:
            stop_one = asyncio.Event()
            voting = asyncio.create_task(scenario(mesh.edge, mesh.mesh, stop_one))
            stopped = asyncio.create_task(stop_one.wait())
            await asyncio.wait({voting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            pid = mesh.send_signal("ingest-1", number)
            try:
                await voting
            finally:
                if number is signal.SIGSTOP:
                    os.kill(pid, signal.SIGCONT)

        run(stopping())
