"""The admin port: its pages, its bounds, and clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mesh.health.check import Check
from mesh.health.readiness import DRAINING, SERVING, Readiness
from mesh.metrics import admin
from mesh.metrics import declarations as d
from mesh.metrics.admin import AdminReply, AdminServer, Route
from mesh.metrics.exposition import Exposition
from mesh.metrics.histogram import Histogram
from mesh.metrics.observed import pages
from mesh.metrics.registry import MetricRegistry
from tests.support.games import until
from tests.support.scrape import Scrape


@contextlib.asynccontextmanager
async def serving(routes: Mapping[str, Route]) -> AsyncIterator[tuple[AdminServer, int]]:
    server = AdminServer(routes)
    port = await server.start("127.0.0.1:0")
    try:
        yield server, port
    finally:
        server.stop()


async def asked(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and content of the answer to one request, after which the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    return head, content


def get(path: str, *, method: str = "GET", last: bool = True) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\n{'connection: close' if last else 'x: y'}\r\n\r\n".encode()
    )


async def hello() -> AdminReply:
    return AdminReply(200, b'{"ok": true}\n')


def test_pages_are_answered_and_everything_else_is_refused() -> None:
    async def scenario() -> None:
        async with serving({"/livez": hello}) as (_, port):
            head, content = await asked(port, get("/livez?x=1"))
            assert (head.split(b"\r\n")[0], content) == (b"HTTP/1.1 200 OK", b'{"ok": true}\n')
            head, content = await asked(port, get("/livez", method="HEAD"))
            assert b"content-length: 13" in head
            assert content == b""
            for request, status in (
                (get("/nothing"), b"404"),
                (get("/livez", method="POST"), b"405"),
                (b"GET /livez HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", b"400"),
                (b"nonsense\r\n\r\n", b"400"),
                (b"GET /livez HTTP/1.0\r\n\r\n", b"200"),
            ):
                head, _ = await asked(port, request)
                assert head.split()[1] == status, request
            # Longer than any request, and never one.
            assert await asked(port, b"x" * (admin.REQUEST_BYTES_MAX + 1)) == (b"", b"")

    asyncio.run(scenario())


def test_a_connection_is_kept_for_the_next_scrape() -> None:
    async def scenario() -> None:
        async with serving({"/livez": hello}) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            # Two at once, in pieces.
            both = get("/livez", last=False) * 2
            writer.write(both[:20])
            await writer.drain()
            writer.write(both[20:])
            for _ in range(2):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                assert b"keep-alive" in head
                await reader.readexactly(13)
            assert server.connections == 1
            writer.close()

    asyncio.run(scenario())


def test_a_page_that_fails_is_told_and_ends_nothing() -> None:
    async def fails() -> AdminReply:
        raise RuntimeError("a fault")

    async def scenario() -> None:
        async with serving({"/metrics": fails, "/livez": hello}) as (_, port):
            head, content = await asked(port, get("/metrics"))
            assert head.split()[1] == b"500"
            assert b"a fault" not in content
            assert (await asked(port, get("/livez")))[0].split()[1] == b"200"

    asyncio.run(scenario())


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "REPLY_S", 0.1)

    async def much() -> AdminReply:
        return AdminReply(200, b"x" * 20_000_000)

    async def scenario() -> None:
        async with serving({"/metrics": much, "/livez": hello}) as (server, port):
            with socket.create_connection(("127.0.0.1", port)) as slow:
                slow.sendall(get("/metrics"))
                async with asyncio.timeout(20):
                    while not server.cut_off:
                        assert (await asked(port, get("/livez")))[0].split()[1] == b"200"
                await until(lambda: not server.connections, "its connection is gone")

    asyncio.run(scenario())


def test_a_client_that_asks_for_nothing_is_closed_and_so_is_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admin, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(admin, "REQUEST_S", 0.2)

    async def scenario() -> None:
        async with serving({"/livez": hello}) as (server, port):
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await asked(port, get("/livez")) == (b"", b"")
            assert await asyncio.wait_for(silent.read(), 20) == b""
            writer.close()
            await until(lambda: not server.connections, "its connection is gone")
            assert (await asked(port, get("/livez")))[0].split()[1] == b"200"

    asyncio.run(scenario())


def test_a_unix_socket_is_its_users_alone() -> None:
    def mode(path: Path) -> int:
        return path.stat().st_mode

    async def scenario(path: Path) -> None:
        server = AdminServer({"/livez": hello})
        await server.start(f"unix:{path}")
        assert mode(path) & 0o077 == 0
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get("/livez"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        server.stop()

    with TemporaryDirectory(prefix="gs-") as folder:
        asyncio.run(scenario(Path(folder) / "a"))
        assert not list(Path(folder).iterdir())


def test_a_port_that_is_taken_says_so() -> None:
    async def scenario() -> None:
        async with serving({}) as (_, port):
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} for --admin"):
                await AdminServer({}).start(f"127.0.0.1:{port}")

    asyncio.run(scenario())


def test_forty_scrapers_share_one_rendering_and_the_loop_goes_on() -> None:
    """A big process: 3,000 series. No turn of its loop takes as long as the text."""
    registry = MetricRegistry()
    histograms = {f"a.B/{n}": Histogram() for n in range(50)}
    registry.histogram(d.RPC_SECONDS, lambda: histograms)
    for declared in (d.AGGREGATE_LAG_SECONDS, d.AGGREGATE_LAG_BLOCKS, d.AGGREGATE_LAG_EVENTS):
        registry.value(declared, lambda: {str(n): n for n in range(700)})

    async def scenario() -> None:
        exposition = Exposition(registry, cached_s=20)
        longest_s, before_s, running = 0.0, time.thread_time(), True

        async def turns() -> None:
            nonlocal longest_s, before_s
            while running:
                await asyncio.sleep(0)
                now_s = time.thread_time()
                longest_s, before_s = max(longest_s, now_s - before_s), now_s

        async with serving({"/metrics": exposition.page}) as (_, port):
            turning = asyncio.create_task(turns())
            began_s = time.thread_time()
            texts = await asyncio.gather(*(asked(port, get("/metrics")) for _ in range(40)))
            whole_s = time.thread_time() - began_s
            running = False
            await turning
        assert exposition.rendered.makes == 1
        assert len({content for _, content in texts}) == 1
        assert len(Scrape(texts[0][1].decode()).families) == 5
        assert longest_s < whole_s / 4

    asyncio.run(scenario())


def test_livez_is_apart_from_readyz_which_tells_each_dependency() -> None:
    readiness = Readiness("gateway", "gateway-1")

    async def page(path: str) -> tuple[int, dict[str, object]]:
        reply = await pages(MetricRegistry(), readiness)[path]()
        return reply.status, json.loads(reply.content)

    async def scenario() -> None:
        assert (await page("/livez"))[0] == 200
        assert await page("/readyz") == (
            503,
            {
                "ok": False,
                "state": "starting",
                "service": "gateway",
                "instance": "gateway-1",
                "dependencies": [],
            },
        )
        readiness.phase = SERVING
        redis, nats = Check("Redis", 3.0), Check("NATS", 3.0)
        readiness.checks = [redis, nats]
        now_s = asyncio.get_running_loop().time()
        redis.begin(now_s - 9)
        redis.failed("connection refused", now_s - 1)
        nats.proved(now_s)
        status, found = await page("/readyz")
        assert status == 200, "a dependency that all share takes nobody out of service"
        assert found["dependencies"] == [
            {"name": "Redis", "ok": False, "reason": "connection refused"},
            {"name": "NATS", "ok": True, "reason": ""},
        ]
        readiness.is_in_service = False
        assert (await page("/readyz"))[0] == 503
        readiness.is_in_service, readiness.phase = True, DRAINING
        status, found = await page("/readyz")
        assert (status, found["state"]) == (503, "draining")
        assert (await page("/livez"))[0] == 200

    asyncio.run(scenario())
