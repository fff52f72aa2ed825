"""A real Envoy multiplexes its clients over one connection to `mesh.http2`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from mesh.envoy.config import Address, Endpoint, SocketPath, UpstreamTls
from mesh.http2.health import Health
from mesh.http2.server import Http2Server
from mesh.http2.tls import TlsFiles
from tests.support.certificates import Authority
from tests.support.envoy_proxy import proxy
from tests.support.games import until
from tests.support.http2_service import HOST, Calls, Echo, stuck
from tests.support.supervision import PATIENT, supervised
from toolbox.local.home import Home
from toolbox.local.ports import Ports

SERVICE = "grandstand.ingest.v1.IngestService"
PUBLISH = f"/{SERVICE}/Publish"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True)
class Way:
    """How Envoy reaches the server."""

    listen: str
    address: Callable[[int], Address]
    server_tls: TlsFiles | None = None
    envoy_tls: UpstreamTls | None = None


def by_tcp() -> Way:
    return Way(f"{HOST}:0", lambda port: Endpoint(HOST, port))


def by_unix_socket(folder: Path) -> Way:
    return Way(f"unix:{folder}/socket", lambda _: SocketPath(f"{folder}/socket"))


def by_mutual_tls(folder: Path, client: Authority | None = None) -> Way:
    """`client` signs Envoy's certificate; by default the authority of the mesh."""
    mesh = Authority(folder)
    server, envoy = mesh.issue("ingest.mesh", "server-"), (client or mesh).issue("envoy.mesh", "envoy-")
    return Way(
        f"{HOST}:0",
        lambda port: Endpoint(HOST, port),
        TlsFiles(server.chain, server.key, mesh.certificate),
        UpstreamTls(str(mesh.certificate), "ingest.mesh", str(envoy.chain), str(envoy.key)),
    )


@contextlib.asynccontextmanager
async def behind_envoy(
    tmp_path: Path, way: Way | None = None, *, is_reached: bool = True
) -> AsyncIterator[tuple[Http2Server, Calls, str]]:
    """A server that echoes on Publish, its calls, and the address of Envoy's mesh listener."""
    home = Home(tmp_path / "home")
    home.create()
    calls, health = Calls(Echo), Health()
    for name in ("", SERVICE):
        health.set(name, True)
    way = way or by_tcp()
    server = Http2Server(
        {PUBLISH: calls.accept, **health.methods()}, message_bytes_max=256 * 1024, tls=way.server_tls
    )
    port = await server.start(way.listen)
    try:
        with contextlib.closing(Ports()) as ports:
            replicas = {"ingest": (way.address(port),)}
            healthy = ("ingest",) if is_reached else ()
            tls = {"ingest": way.envoy_tls} if way.envoy_tls else {}
            spec, config = proxy(home, ports, replicas, *healthy, upstream_tls=tls)
            async with supervised(home, spec, policy=PATIENT):
                yield server, calls, f"{HOST}:{config.mesh.port}"
    finally:
        await server.close(0.0)


async def exchange(channel: grpc.aio.Channel, messages: list[bytes]) -> None:
    call = channel.stream_stream(PUBLISH)()

    async def write() -> None:
        for each in messages:
            await call.write(each)
        await call.done_writing()

    writing = asyncio.create_task(write())
    for each in messages:
        assert await call.read() == each
    assert await call.read() is grpc.aio.EOF
    await writing
    assert await call.code() == grpc.StatusCode.OK


def test_everything_a_service_needs_works_behind_envoy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind_envoy(tmp_path) as (server, calls, address):
            async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
                await exchange(channel, [b"%06d" % number * 8 for number in range(20_000)])
                await exchange(channel, [b"\1" * size for size in (0, 1, 65_535, 262_144, 16_384)])
                # Three hundred calls share what Envoy holds to us: one connection, beside its health checks.
                await asyncio.gather(*(exchange(channel, [b"%d" % n] * 50) for n in range(300)))
                assert calls.half_closed == 302
                assert server.connections <= 3

                async with stuck(channel.stream_stream(PUBLISH)(), calls):
                    await asyncio.gather(*(exchange(channel, [b"y" * 5_000] * 20) for _ in range(20)))
                    assert calls.gone == 0
                await until(lambda: calls.gone == 1, "the one that did not read has gone")

                # A client sends far more metadata than we take: it costs nobody else a call.
                other = channel.stream_stream(PUBLISH)()
                await other.write(b"before")
                assert await other.read() == b"before"
                greedy = channel.stream_stream(PUBLISH)(
                    metadata=[(f"name-{n}", "x" * 6_000) for n in range(4)]
                )
                assert await greedy.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, await greedy.details()
                await other.write(b"after")
                assert await other.read() == b"after"
                other.cancel()
            await until(lambda: calls.gone == 2, "the last has gone")

    asyncio.run(scenario())


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: a socket's is bounded."""
    with TemporaryDirectory(prefix="gs-") as name:
        yield Path(name)


@pytest.mark.parametrize("way_of", [by_unix_socket, by_mutual_tls])
def test_envoy_comes_over_a_unix_socket_and_over_mutual_tls(
    way_of: Callable[[Path], Way], tmp_path: Path, folder: Path
) -> None:
    async def scenario() -> None:
        async with (
            behind_envoy(tmp_path, way_of(folder)) as (server, calls, address),
            grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel,
        ):
            await exchange(channel, [b"\1" * size for size in (0, 1, 65_535, 262_144, 16_384)])
            await asyncio.gather(*(exchange(channel, [b"%d" % n] * 50) for n in range(100)))
            assert server.connections <= 3
            async with stuck(channel.stream_stream(PUBLISH)(), calls):
                await exchange(channel, [b"y" * 5_000] * 20)
            await until(lambda: calls.gone == 1, "the one that did not read has gone")

    asyncio.run(scenario())


def test_an_envoy_whose_certificate_is_of_another_authority_reaches_nothing(
    tmp_path: Path, folder: Path
) -> None:
    async def scenario() -> None:
        way = by_mutual_tls(folder, Authority(folder / "strangers"))
        async with (
            behind_envoy(tmp_path, way, is_reached=False) as (server, calls, address),
            grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel,
        ):
            call = channel.stream_stream(PUBLISH)()
            assert await call.code() == grpc.StatusCode.UNAVAILABLE
            assert (server.streams_opened, calls.accepted) == (0, 0)

    asyncio.run(scenario())


def test_a_crowd_comes_and_goes_again_and_again_behind_envoy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind_envoy(tmp_path) as (server, calls, address):
            for number in (1, 2, 3):
                async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
                    crowd = [channel.stream_stream(PUBLISH)() for _ in range(500)]
                    for call in crowd:
                        await call.write(b"here")
                    for call in crowd:
                        assert await call.read() == b"here"
                await until(lambda: calls.gone == 500 * number, "the crowd has left")  # noqa: B023
            assert server.streams <= 1

    asyncio.run(scenario())


def test_envoy_is_drained_without_a_failed_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            behind_envoy(tmp_path) as (server, calls, address),
            grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel,
        ):
            call = channel.stream_stream(PUBLISH)()
            await call.write(b"1")
            assert await call.read() == b"1"
            closing = asyncio.create_task(server.close(20.0))
            await until(lambda: not server.is_listening, "it drains")
            await call.write(b"2")
            assert await call.read() == b"2"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() == grpc.StatusCode.OK
            await closing
            assert calls.gone == 0

    asyncio.run(scenario())
