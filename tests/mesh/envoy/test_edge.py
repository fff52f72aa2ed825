"""The public port as strangers use it: browsers of other origins, probes, and those who send garbage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import GetGameRequest, OpenPollRequest
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from tests.support.games import GameClient, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh, wait_for
from toolbox.local.provision import checkout

ANSWER_WITHIN_S = 10.0
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def ask(mesh: RunningMesh, method: str, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(mesh.edge, timeout=ANSWER_WITHIN_S)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


async def conversation(address: str, data: bytes) -> bytes:
    """All that the edge answers to `data` until it closes the connection."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(ANSWER_WITHIN_S):
            with contextlib.suppress(ConnectionError):
                return await reader.read()
        return b""
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def undisturbed(mesh: RunningMesh) -> AsyncIterator[GameClient]:
    """A viewer and a vote before and after the body, which the body must not disturb."""
    async with new_game(mesh.edge, mesh.mesh) as game:
        await game.open_poll()
        async with game.watching("poll/mvp") as viewer:
            await game.send(game.vote("before"))
            yield game
            await game.send(game.vote("after", "blue"))
            await until(lambda: votes_of(viewer.states["poll/mvp"]) == {"red": 1, "blue": 1}, "both count")


def test_garbage_is_refused_and_nobody_else_notices(mesh: RunningMesh) -> None:
    garbage = random.Random(7).randbytes(4096)

    async def scenario() -> None:
        async with undisturbed(mesh):
            for data in (b"\x00\xff\xfe garbage\r\n\r\n", b"HELO grandstand\r\n\r\n", garbage + b"\r\n\r\n"):
                assert (await conversation(mesh.edge, data)).startswith(b"HTTP/1.1 400 ")
            # After the preface the peer speaks HTTP/2, badly: the connection is closed.
            await conversation(mesh.edge, H2_PREFACE + garbage)
            await conversation(mesh.mesh, H2_PREFACE + garbage)

    run(scenario())


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        host, _, port = mesh.edge.rpartition(":")
        async with undisturbed(mesh):
            for data in (b"", b"POST /grandstand.gateway.v1.Gate", H2_PREFACE, H2_PREFACE + b"\x00\x00"):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(data)
                await writer.drain()
                writer.transport.abort()

    run(scenario())


def test_headers_beyond_their_bound_are_refused(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with undisturbed(mesh):
            head = b"GET / HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 40_000 + b"\r\n\r\n"
            assert (await conversation(mesh.edge, head)).startswith(b"HTTP/1.1 431 ")

    run(scenario())


def test_a_page_of_any_origin_may_call_the_edge(mesh: RunningMesh) -> None:
    answer, _ = ask(
        mesh,
        "OPTIONS",
        "/grandstand.gateway.v1.GatewayService/Send",
        Origin="https://elsewhere.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type,x-grpc-web,x-user-agent,traceparent",
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://elsewhere.example"
    allowed = answer.headers["access-control-allow-headers"]
    for header in ("content-type", "x-grpc-web", "grpc-timeout", "x-user-agent", "traceparent", "tracestate"):
        assert header in allowed
    answer, _ = ask(
        mesh, "POST", "/grandstand.gateway.v1.GatewayService/Send", Origin="https://elsewhere.example"
    )
    assert "grpc-status" in answer.headers["access-control-expose-headers"]
    assert "grpc-message" in answer.headers["access-control-expose-headers"]


def test_the_page_comes_with_types_caching_and_a_content_policy(mesh: RunningMesh) -> None:
    dist = checkout() / "web" / "dist"
    answer, body = ask(mesh, "GET", "/?game=demo")
    assert answer.status == 200
    assert body == (dist / "index.html").read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer, body = ask(mesh, "HEAD", "/")
    assert (answer.status, body) == (200, b"")


def test_what_is_not_served_is_not_found(mesh: RunningMesh) -> None:
    for path in (
        "/nothing",
        "/../run/envoy.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/server_info",
    ):
        answer, body = ask(mesh, "GET", path)
        assert answer.status in (400, 404), path
        assert b"root:" not in body
    assert ask(mesh, "DELETE", "/")[0].status == 404


def test_the_edge_tells_whether_the_mesh_is_healthy(mesh: RunningMesh) -> None:
    wait_for(lambda: ask(mesh, "GET", "/healthz")[0].status == 200, "all is stored, folded and shown")
    _, body = ask(mesh, "GET", "/healthz")
    found = json.loads(body)
    assert [found[name] for name in ("stored", "folded", "shown")] == [
        {"ok": True, "reason": "", "since": None}
    ] * 3
    assert ask(mesh, "HEAD", "/healthz")[1] == b""
    assert ask(mesh, "GET", "/livez")[0].status == 200
    assert ask(mesh, "POST", "/healthz")[0].status == 404


def test_the_catalog_can_be_read_at_the_edge_and_changed_only_on_the_mesh(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            catalog = CatalogServiceStub(game.edge)
            found = await catalog.GetGame(GetGameRequest(game_id=game.game_id), timeout=ANSWER_WITHIN_S)
            assert found.game.game_id == game.game_id
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await catalog.OpenPoll(OpenPollRequest(), timeout=ANSWER_WITHIN_S)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    run(scenario())


def test_only_the_edge_may_be_reached_from_outside(mesh: RunningMesh) -> None:
    if sys.platform != "linux":
        pytest.skip("only /proc tells who listens")
    inodes = {
        str(descriptor.readlink())
        for service in mesh.status().services
        for descriptor in Path(f"/proc/{service.pid}/fd").iterdir()
    }
    listening = [
        fields[1].rpartition(":")[0]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/self/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes
    ]
    # In the kernel's byte order; gRPC listens on an IPv6 socket, which shows the address mapped.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert len(listening) >= len(mesh.status().services)
    assert set(listening) <= loopback
