"""Probes against real servers: grpc's own health servicer, nats-server, Valkey, and peers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from hypothesis import given
from hypothesis import strategies as st

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.mesh_fixture import wait_for
from tests.support.nats_versions import nats_version, on_each_nats
from tests.support.servers import Process, eventually, listens
from toolbox.local import grpc_health, probe, provision, store_users
from toolbox.local.home import Home
from toolbox.local.lifecycle import Answer
from toolbox.local.ports import Ports
from toolbox.local.spec import (
    EnvoyProbe,
    GrpcProbe,
    HttpProbe,
    NatsProbe,
    Probe,
    RedisProbe,
    RunningProbe,
)
from toolbox.local.stores import nats_conf

__all__ = ["nats_version"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextlib.asynccontextmanager
async def health_server(**statuses: int) -> AsyncIterator[int]:
    """The port of a gRPC server whose services have the given health; `whole` is the server's own."""
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name, status in statuses.items():
        await health.set("" if name == "whole" else name, status)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def peer(serve: Serve, path: Path | None = None) -> AsyncIterator[int]:
    """The port of a server that does to each connection what `serve` does; with `path` on that socket."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    if path is not None:
        async with await asyncio.start_unix_server(one, path):
            yield 0
        return
    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answer_of(services: tuple[str, ...], **statuses: int) -> Answer:
    async def scenario() -> Answer:
        async with health_server(**statuses) as port:
            return (await probe.ask(GrpcProbe(port, services))).answer

    return asyncio.run(scenario())


def test_a_grpc_server_is_ready_when_every_service_serves() -> None:
    assert answer_of(("", "a.v1.A"), whole=SERVING, **{"a.v1.A": SERVING}) is Answer.SERVING


def test_a_grpc_server_is_alive_but_not_ready_while_one_service_does_not_serve() -> None:
    assert answer_of(("", "a.v1.A"), whole=SERVING, **{"a.v1.A": NOT_SERVING}) is Answer.ALIVE


def test_a_grpc_server_that_does_not_know_the_service_is_alive_but_not_ready() -> None:
    assert answer_of(("a.v1.A",), whole=SERVING) is Answer.ALIVE


def test_a_long_conversation_of_many_services_is_understood() -> None:
    names = tuple(f"grandstand.service{n}.v1.Service" for n in range(40))
    assert answer_of(names, **dict.fromkeys(names, SERVING)) is Answer.SERVING


def test_a_server_that_restarts_is_asked_anew() -> None:
    async def scenario() -> list[Answer]:
        async with health_server(whole=SERVING) as port:
            first = (await probe.ask(GrpcProbe(port))).answer
        return [first, (await probe.ask(GrpcProbe(port))).answer]

    assert asyncio.run(scenario()) == [Answer.SERVING, Answer.SILENT]


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 8)
    await writer.drain()


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(60_000))
        await writer.drain()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200")
    await writer.drain()


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


@pytest.mark.parametrize("serve", [_garbage, _flood, _half, _closes])
@pytest.mark.parametrize(
    "kind",
    [
        GrpcProbe,
        RedisProbe,
        lambda port: NatsProbe(port, port),
        lambda port: HttpProbe(port, "/healthz"),
    ],
)
def test_a_peer_that_speaks_something_else_is_silent(
    kind: Callable[[int], Probe],
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def scenario() -> Answer:
        async with peer(serve) as port:
            return (await probe.ask(kind(port))).answer

    assert asyncio.run(scenario()) is not Answer.SERVING


def test_a_page_that_comes_in_pieces_is_read_to_its_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for piece in (b"a" * 70_000, b"b", b"c"):
            writer.write(piece)
            await writer.drain()
            for _ in range(100):  # turns in which a reader takes what has come
                await asyncio.sleep(0)

    async def scenario() -> None:
        async with peer(serve) as port:
            assert await probe.get(port, "/metrics") == (200, b"a" * 70_000 + b"bc")

    asyncio.run(scenario())


@pytest.mark.parametrize("serve", [_garbage, _flood, _half, _closes])
def test_an_admin_that_speaks_something_else_is_silent(serve: Serve) -> None:
    async def scenario(path: Path) -> Answer:
        async with peer(serve, path):
            return (await probe.ask(EnvoyProbe(path, ()))).answer

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(scenario(Path(folder) / "a")) is not Answer.SERVING


def test_a_peer_that_says_nothing_is_silent_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> Answer:
        async with peer(mute) as port:
            return (await probe.ask(GrpcProbe(port))).answer

    monkeypatch.setattr(probe, "TIMEOUT_S", 0.05)
    assert asyncio.run(scenario()) is Answer.SILENT


def test_redis_that_loads_its_data_is_alive_but_not_ready() -> None:
    async def loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SET\r\n")
        writer.write(b"-LOADING Valkey is loading the dataset in memory\r\n")

    async def scenario() -> Answer:
        async with peer(loading) as port:
            return (await probe.ask(RedisProbe(port))).answer

    assert asyncio.run(scenario()) is Answer.ALIVE


@pytest.fixture
def nats_ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    with contextlib.closing(Ports()) as ports:
        port, monitor = ports.take(), ports.take()
        server = Process(
            "nats",
            [
                *(provision.nats_server(), "-js", "-sd", tmp_path / "store", "-a", "127.0.0.1"),
                *("-p", str(port), "-m", str(monitor)),
            ],
            tmp_path,
        )
        server.start()
        try:
            wait_for(lambda: listens(monitor) and listens(port), "nats-server listens")
            yield port, monitor
        finally:
            server.end()


@on_each_nats
def test_nats_is_ready_when_it_stores_a_message(nats_version: str, nats_ports: tuple[int, int]) -> None:
    async def scenario() -> None:
        for _ in range(2):
            assert await probe.ask(NatsProbe(*nats_ports)) == (Answer.SERVING, "")
        bus = await Bus.connect(f"nats://127.0.0.1:{nats_ports[0]}", "a test")
        await bus.ensure_probes_stream()
        info = await bus.js.stream_info(subjects.PROBES_STREAM)
        assert info.state.messages == 1
        await bus.js.delete_stream(subjects.PROBES_STREAM)

        async def is_ready() -> bool:
            return await probe.ask(NatsProbe(*nats_ports)) == (Answer.SERVING, "")

        # 2.10 calls a stream that it deletes "could not be recovered" until its folder is gone.
        await eventually(is_ready, "the stream is there again")
        await bus.close()

    asyncio.run(scenario())


@on_each_nats
def test_the_monitor_of_a_nats_with_users_answers_its_supervisor_alone(
    nats_version: str, tmp_path: Path
) -> None:
    home, logins = Home(tmp_path / "home"), store_users.new_logins()
    home.create()
    asked = ("/", "/healthz", "/varz", "/connz?subs=1&auth=1&callback=page", "/jsz", "/subsz", "/debug/vars")

    async def scenario(port: int, monitor: int) -> None:
        supervisor = NatsProbe(port, monitor, logins[store_users.SUPERVISOR])
        assert (await probe.ask(supervisor)).answer is Answer.SERVING
        for path in asked:
            found = await probe.ask(HttpProbe(monitor, path))
            assert found.answer is Answer.ALIVE, f"{path} is not 404"

    with contextlib.closing(Ports()) as ports:
        port, monitor = ports.take(), ports.take()
        file = home.run / "nats.conf"
        file.write_text(nats_conf(home, port, monitor, sync_always=False, logins=logins))
        server = Process("nats", [provision.nats_server(), "-c", file], tmp_path)
        server.start()
        try:
            wait_for(lambda: listens(monitor) and listens(port), "nats-server listens")
            asyncio.run(scenario(port, monitor))
        finally:
            server.end()


async def _nats_without_jetstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'INFO {"server_id":"x"}\r\n')
    while line := await reader.readline():
        if line.startswith(b"PUB"):
            head = b"NATS/1.0 503\r\n\r\n"
            writer.write(b"HMSG _INBOX.supervisor 1 %d %d\r\n%s\r\n" % (len(head), len(head), head))


async def _nats_that_cannot_write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    error = {"code": 503, "err_code": 10077, "description": "write 1.blk: no space left on device"}
    body = json.dumps({"error": error, "stream": "PROBES", "seq": 0}).encode()
    while line := await reader.readline():
        if line.startswith(b"PUB"):
            writer.write(b"MSG _INBOX.supervisor 1 %d\r\n%s\r\n" % (len(body), body))


async def _well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"status":"ok"}')


async def _write_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    error = json.dumps({"status": "unavailable", "error": "'EVENTS' write error: No space left on device"})
    writer.write(f"HTTP/1.1 503 Unavailable\r\n\r\n{error}".encode())


@pytest.mark.parametrize(
    ("serve", "health", "problem"),
    [
        (_nats_without_jetstream, _well, "JetStream is disabled"),
        (_nats_that_cannot_write, _well, "disk full: write 1.blk: no space left on device"),
        (_closes, _write_error, "disk full: 'EVENTS' write error: No space left on device"),
    ],
)
def test_a_nats_that_says_that_it_stores_nothing_is_wedged(serve: Serve, health: Serve, problem: str) -> None:
    async def scenario() -> tuple[Answer, str]:
        async with peer(serve) as port, peer(health) as monitor:
            return await probe.ask(NatsProbe(port, monitor))

    assert asyncio.run(scenario()) == (Answer.WEDGED, problem)


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        (b"+OK\r\n$1\r\n1\r\n", (Answer.SERVING, "")),
        (b"+OK\r\n$-1\r\n", (Answer.ALIVE, "")),
        (b"-READONLY You can't write", (Answer.WEDGED, "READONLY You can't write")),
        (b"-MISCONF No space left on device", (Answer.WEDGED, "disk full: MISCONF No space left on device")),
    ],
)
def test_a_redis_must_take_and_return_a_key(reply: bytes, heard: tuple[Answer, str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"GET")
        writer.write(reply)

    async def scenario() -> tuple[Answer, str]:
        async with peer(serve) as port:
            return await probe.ask(RedisProbe(port))

    assert asyncio.run(scenario()) == heard


def test_a_process_that_serves_nobody_is_ready_by_running() -> None:
    assert asyncio.run(probe.ask(RunningProbe())).answer is Answer.SERVING


def test_an_envoy_cluster_is_healthy_when_one_of_its_hosts_is() -> None:
    def host(failed: bool) -> dict[str, object]:
        return {"health_status": {"eds_health_status": "HEALTHY", "failed_active_health_check": failed}}

    statuses = {"all": [False, False], "one": [True, False], "none": [True], "no host": []}
    clusters = [
        {"name": name, "host_statuses": [host(failed) for failed in hosts]}
        for name, hosts in statuses.items()
    ]
    found = probe.healthy_clusters(json.dumps({"cluster_statuses": clusters}).encode())
    assert found == {"all", "one"}


@given(st.binary(max_size=4096), st.integers(1, 64))
def test_a_reply_survives_any_bytes_in_any_pieces(data: bytes, piece: int) -> None:
    reply = grpc_health.Reply(("", "a.v1.A"))
    with contextlib.suppress(grpc_health.NotHealth):
        for start in range(0, len(data), piece):
            reply.feed(data[start : start + piece])
    assert not (reply.done and reply.serving)
