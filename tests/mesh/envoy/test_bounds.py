"""What strangers may use up at the edge, with a witness inside who notices nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import grpc
import hpack
import pytest

from mesh.envoy import address_rates, clusters, listeners
from mesh.envoy.address_rates import AddressRate
from mesh.envoy.config import Endpoint, EnvoyConfig, PageFile
from mesh.envoy.page import page_files
from mesh.http2 import frames as f
from mesh.http2.call import Call, Handler
from mesh.http2.health import Health
from mesh.http2.server import Http2Server
from tests.support import envoy_admin
from tests.support.envoy_proxy import CLIENTS_KEY, proxy
from tests.support.games import until
from tests.support.http2_service import HOST
from tests.support.raw_viewers import Line, line_to
from tests.support.supervision import PATIENT, supervised
from tests.support.tokens import bearer, token
from toolbox.local.home import Home
from toolbox.local.ports import Ports

READ = "/grandstand.aggregate.v1.AggregateService/Read"
SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"
SERVICES = ("grandstand.gateway.v1.GatewayService", "grandstand.aggregate.v1.AggregateService")
WITHIN_S = 10.0
CONNECTIONS_MAX = 8
READS_MAX = 4
SOON_S = 0.5
CROWD = 63
FLOODER, NEIGHBOUR = "127.0.0.66", "127.0.0.67"


class Behind:
    """Services that answer a message with itself, and count the calls that are open."""

    def __init__(self) -> None:
        self.open: set[Echo] = set()

    def accept(self, call: Call) -> Handler:
        return Echo(call, self)


class Echo:
    def __init__(self, call: Call, behind: Behind) -> None:
        self._call = call
        self._behind = behind
        behind.open.add(self)

    def received(self, message: bytes) -> None:
        self._call.send(message)
        self._call.end()
        self.gone()

    def writable(self) -> None:
        pass

    def half_closed(self) -> None:
        pass

    def gone(self) -> None:
        self._behind.open.discard(self)


class Edge:
    def __init__(self, home: Home, config: EnvoyConfig, behind: Behind, pid: int) -> None:
        self.admin = home.envoy_admin
        self.pid = pid
        self.config = config
        self.behind = behind

    @contextlib.asynccontextmanager
    async def at(self, endpoint: Endpoint) -> AsyncIterator[grpc.aio.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"{endpoint.host}:{endpoint.port}", options) as channel:
            yield channel

    async def inside_answers(self, path: str = READ) -> None:
        async with self.at(self.config.mesh) as channel:
            shown = [("authorization", bearer(token(CLIENTS_KEY)))]
            answer = await channel.unary_unary(path)(b"witness", metadata=shown, timeout=WITHIN_S)
            assert answer == b"witness"

    def stat(self, name: str) -> int:
        return int(envoy_admin.stats(self.admin, f"^{name}$").get(name, 0))


@contextlib.asynccontextmanager
async def edge(tmp_path: Path, **changes: Any) -> AsyncIterator[Edge]:
    home = Home(tmp_path / "home")
    home.create()
    behind, health = Behind(), Health()
    for name in ("", *SERVICES):
        health.set(name, True)
    methods = {READ: behind.accept, SUBSCRIBE: behind.accept}
    server = Http2Server({**methods, **health.methods()}, message_bytes_max=16 * 1024)
    at = (Endpoint(HOST, await server.start(f"{HOST}:0")),)
    try:
        with contextlib.closing(Ports()) as ports:
            replicas = {"gateway": at, "aggregate": at}
            spec, config = proxy(home, ports, replicas, "gateway", "aggregate", **changes)
            async with supervised(home, spec, policy=PATIENT) as watched:
                pid = watched[spec.name].pid
                assert pid is not None
                yield Edge(home, config, behind, pid)
    finally:
        await server.close(0.0)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ConnectionError):
            return not await reader.read()
        return True


def test_connections_that_say_nothing_use_up_the_edge_for_seconds_and_never_the_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "FIRST_BYTES_WITHIN_S", SOON_S)

    async def scenario() -> None:
        async with edge(tmp_path, connections_max=CONNECTIONS_MAX) as at, contextlib.AsyncExitStack() as held:

            async def connect() -> asyncio.StreamReader:
                reader, writer = await asyncio.open_connection(at.config.edge.host, at.config.edge.port)
                held.callback(writer.close)
                return reader

            readers = [await connect() for _ in range(3 * CONNECTIONS_MAX)]
            await at.inside_answers()
            assert all([await is_closed(reader) for reader in readers])
            assert at.stat(f"listener.{HOST}_{at.config.edge.port}.downstream_cx_overflow") > 0
            async with at.at(at.config.edge) as channel:
                assert await channel.unary_unary(READ)(b"later", timeout=WITHIN_S) == b"later"

    asyncio.run(scenario())


def test_requests_without_a_message_end_soon_and_close_no_way_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "REQUEST_WITHIN_S", SOON_S)
    monkeypatch.setattr(clusters, "EDGE_READS_MAX", READS_MAX)

    async def scenario() -> None:
        async with edge(tmp_path) as at, at.at(at.config.edge) as channel:
            silent = [channel.stream_unary(READ)() for _ in range(READS_MAX)]
            await until(lambda: len(at.behind.open) == READS_MAX, "the breaker of the edge is open")
            with pytest.raises(grpc.aio.AioRpcError, match="overflow"):
                await channel.unary_unary(READ)(b"one more", timeout=WITHIN_S)
            await at.inside_answers()
            for call in silent:
                with pytest.raises(grpc.aio.AioRpcError, match="not whole in time") as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await until(lambda: not at.behind.open, "they are gone behind it, too")

    asyncio.run(scenario())


def test_an_address_that_floods_the_edge_is_refused_there_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by viewers' streams nor by reads whose message never comes, on any number of connections."""
    rates = dict.fromkeys(address_rates.RATES, AddressRate(6, 1)) | {"reads": AddressRate(READS_MAX - 1, 1)}
    monkeypatch.setattr(address_rates, "RATES", rates)
    monkeypatch.setattr(clusters, "EDGE_READS_MAX", READS_MAX)

    async def scenario() -> None:
        async with edge(tmp_path) as at, contextlib.AsyncExitStack() as lines:

            async def line(source: str, path: str) -> Line:
                address = f"{at.config.edge.host}:{at.config.edge.port}"
                return await lines.enter_async_context(line_to(address, source=source, path=path))

            for path, kind in ((SUBSCRIBE, "streams"), (READ, "reads")):
                flood = [await line(FLOODER, path) for _ in range(4)]
                asked = [(each, each.open()) for each in flood for _ in range(10)]
                await until(
                    lambda asked=asked, kind=kind: (
                        sum(stream in each.ended for each, stream in asked)
                        >= len(asked) - rates[kind].burst - 5
                    ),
                    "what is beyond the rate is refused",
                )
                endings = [each.ended[stream] for each, stream in asked if stream in each.ended]
                assert {(each.code, each.message) for each in endings} == {(8, address_rates.SAID)}
                other = await line(NEIGHBOUR, path)
                stream = other.subscribe(b"other")
                await until(lambda other=other, stream=stream: other.bytes[stream], "others are served")

    asyncio.run(scenario())


def test_an_address_is_known_by_all_its_paths_and_forms_at_the_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows a question mark, a part of a /64, and what proxies write make no other address of it, nor
    of many addresses one."""
    monkeypatch.setattr(address_rates, "RATES", dict.fromkeys(address_rates.RATES, AddressRate(2, 1)))
    monkeypatch.setattr(address_rates, "page_rate", lambda heap_bytes_max: AddressRate(16, 1))
    small = PageFile("/small.txt", "text/plain", b"x")
    large = PageFile("/large.txt", "text/plain", b"x" * address_rates.PAGE_UNIT_BYTES)

    async def scenario() -> None:
        async with (
            edge(tmp_path, trusted_hops=1, page=(small, large)) as at,
            at.at(at.config.edge) as channel,
        ):

            async def refused(*asked: str, path: str = READ) -> int:
                async def is_refused(forwarded_for: str) -> bool:
                    call = channel.unary_unary(path)(b"x", metadata=(("x-forwarded-for", forwarded_for),))
                    return await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

                return sum([await is_refused(each) for each in asked])

            def statuses(path: str, forwarded_for: str) -> list[int]:
                asked = http.client.HTTPConnection(at.config.edge.host, at.config.edge.port)
                with contextlib.closing(asked):
                    found = []
                    for _ in range(16):
                        asked.request("GET", path, headers={"x-forwarded-for": forwarded_for})
                        with asked.getresponse() as response:
                            found.append(response.status)
                            response.read()
                return found

            many = range(8)
            assert await refused(*(["192.0.2.1"] * 8), path=f"{READ}?any") >= 4
            assert await refused(*(f"2001:db8::{n}" for n in many)) >= 4
            assert await refused(*(f"192.0.2.{n}, 192.0.2.2" for n in many)) >= 4
            assert await refused(*(f"::ffff:192.0.2.{10 + n}" for n in many)) == 0
            assert await refused(*(f"192.0.2.{20 + n}:443" for n in many)) == 0
            assert await refused(*(["[2001:db8::1:1]:443"] * 8)) == 0
            assert 429 in await asyncio.to_thread(statuses, "/healthz", "192.0.2.3")
            assert 429 in await asyncio.to_thread(statuses, "/large.txt?any", "192.0.2.4")
            assert await asyncio.to_thread(statuses, "/small.txt", "192.0.2.5") == [200] * 16

    asyncio.run(scenario())


def crowd_of(address: Endpoint, bytes_of_each: bytes, count: int = CROWD) -> list[socket.socket]:
    """Connections that have said all they say before anybody looks."""
    made = []
    for _ in range(count):
        plug = socket.create_connection((address.host, address.port), WITHIN_S, (FLOODER, 0))
        plug.sendall(bytes_of_each)
        plug.setblocking(False)
        made.append(plug)
    return made


def was_heard(plug: socket.socket) -> bool:
    try:
        return bool(plug.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_a_call_does_not_wait_for_a_crowd_of_connections_that_came_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of 25,200 silent streams over 252 connections. Envoy stands still until all is there, and
    again once the call is answered: who was heard by then does not depend on who is faster."""
    monkeypatch.setitem(address_rates.RATES, "streams", AddressRate(6, 1))
    encoder = hpack.Encoder()
    fields = {":method": "POST", ":scheme": "http", ":path": SUBSCRIBE, ":authority": "test"}
    fields["content-type"] = "application/grpc"
    flood = f.PREFACE + f.settings({})
    for stream in range(1, 2 * listeners.EDGE_STREAMS_MAX, 2):
        flood += f.frame(f.HEADERS, f.END_HEADERS, stream, encoder.encode(fields))

    async def scenario() -> None:
        async with edge(tmp_path) as at, contextlib.AsyncExitStack() as held:
            address = f"{at.config.edge.host}:{at.config.edge.port}"
            neighbour = await held.enter_async_context(line_to(address, source=NEIGHBOUR))
            before, call = neighbour.subscribe(b""), 0
            await until(lambda: neighbour.bytes[before], "its connection stands")
            os.kill(at.pid, signal.SIGSTOP)
            try:
                crowd = crowd_of(at.config.edge, flood)
                call = neighbour.subscribe(b"")
                await neighbour.drain()
            finally:
                os.kill(at.pid, signal.SIGCONT)
            await until(lambda: neighbour.bytes[call], "it is answered")
            os.kill(at.pid, signal.SIGSTOP)
            heard = sum(was_heard(plug) for plug in crowd)
            os.kill(at.pid, signal.SIGCONT)
            for plug in crowd:
                plug.close()
            assert heard < CROWD / 2

    asyncio.run(scenario())


def test_what_one_address_has_of_the_page_on_its_way_is_a_quarter_of_the_heap() -> None:
    for heap_bytes_max in (512 * 1024**2, 2 * 1024**3, 12 * 1024**3):
        rate = address_rates.page_rate(heap_bytes_max)
        held = (rate.burst + rate.per_s * address_rates.STALLED_S) * address_rates.PAGE_UNIT_BYTES
        assert 0.22 < held / heap_bytes_max <= 0.25


def test_files_of_the_page_that_nobody_reads_hold_up_nobody_and_none_is_put_into_a_header(
    tmp_path: Path,
) -> None:
    """400 requests for one, half of them as gRPC: Envoy would answer these with the file as grpc-message."""
    plain = os.urandom(64 * 1024).hex()
    (tmp_path / "dist").mkdir()
    for name, text in (("index.html", "small"), ("app.js", plain)):
        (tmp_path / "dist" / name).write_text(text)
    encoder = hpack.Encoder()
    fields = {":method": "GET", ":scheme": "http", ":path": "/app.js", ":authority": "test"}
    flood = f.PREFACE + f.settings({})
    for stream in range(1, 2 * listeners.EDGE_STREAMS_MAX, 2):
        kind = {"content-type": "application/grpc"} if stream % 4 == 1 else {}
        flood += f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, encoder.encode(fields | kind))

    def asked(at: Edge, path: str, kind: str) -> tuple[http.client.HTTPMessage, bytes]:
        client = http.client.HTTPConnection(at.config.edge.host, at.config.edge.port)
        with contextlib.closing(client):
            client.request("GET", path, headers={"content-type": kind} if kind else {})
            with client.getresponse() as response:
                return response.headers, response.read()

    async def scenario() -> None:
        async with edge(tmp_path, page=page_files(tmp_path / "dist")) as at:
            crowd = crowd_of(at.config.edge, flood, 4)
            await until(lambda: at.stat("http.edge.downstream_rq_completed") >= 200, "gRPC's are refused")
            await until(lambda: at.stat("http.edge.downstream_rq_active") == 200, "the others are held")
            headers, body = await asyncio.to_thread(asked, at, "/app.js", "")
            assert headers["content-encoding"] == "gzip"
            assert gzip.decompress(body).decode() == plain
            assert await asyncio.to_thread(asked, at, "/", "text/html") == (ANY, b"small")
            for kind in ("application/grpc", "application/grpc-web+proto"):
                headers, body = await asyncio.to_thread(asked, at, "/app.js", kind)
                assert headers["grpc-status"] == ("12" if kind == "application/grpc" else None)
                assert len(str(headers)) + len(body) < 1_000
            async with at.at(at.config.edge) as channel:
                assert await channel.unary_unary(READ)(b"neighbour", timeout=WITHIN_S) == b"neighbour"
            await at.inside_answers()
            for plug in crowd:
                plug.close()

    asyncio.run(scenario())


def test_a_connection_to_the_edge_has_a_hundred_streams_and_takes_no_header_with_an_underscore(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with edge(tmp_path) as at, at.at(at.config.edge) as channel:
            calls = [channel.stream_stream(SUBSCRIBE)() for _ in range(listeners.EDGE_STREAMS_MAX + 1)]
            await until(lambda: len(at.behind.open) == listeners.EDGE_STREAMS_MAX, "as many as may be")
            # Its client holds back the last one; one more of another connection passes.
            async with at.at(at.config.edge) as other:
                assert await other.unary_unary(READ)(b"other", timeout=WITHIN_S) == b"other"
                refused = other.unary_unary(READ)(b"", metadata=(("x_smuggled", "1"),), timeout=WITHIN_S)
                with pytest.raises(grpc.aio.AioRpcError):
                    await refused
            assert len(at.behind.open) == listeners.EDGE_STREAMS_MAX
            for call in calls:
                call.cancel()

    asyncio.run(scenario())


def test_an_edge_whose_heap_is_full_takes_nobody_new_and_the_inside_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with edge(tmp_path, heap_bytes_max=1024 * 1024) as at:
            name = "overload.envoy.overload_actions.stop_accepting_requests.active"
            await until(lambda: at.stat(name) == 1, "the heap is full")
            reader, writer = await asyncio.open_connection(at.config.edge.host, at.config.edge.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await is_closed(reader)
            writer.close()
            await at.inside_answers()

    asyncio.run(scenario())
