"""Node's gRPC and HTTP/2 clients, and curl, find in the engine what a gRPC server is to be."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pycurl
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from grandstand.wire.errors import Exhausted
from mesh.http2.call import Call, Handler, Metadata
from mesh.http2.server import Http2Server
from mesh.http2.tls import TlsFiles
from mesh.http2.unary import unary
from tests.support.certificates import Authority
from tests.support.games import until
from tests.support.http2_peer import message
from tests.support.http2_service import ECHO, HOST, Calls, Echo, serving
from tests.support.real_peers import Answer, curl, grpc_js

PATIENCE_S = 60.0
REVERSE = "/test.Test/Reverse"
FULL = "full of “viewers” — 100 %"


def reverse(request: bytes, _: Metadata) -> bytes:
    return request[::-1]


def full(_: Call) -> Handler:
    raise Exhausted(FULL, retry_after_s=3.5)


class Silent(Echo):
    """Reads, and never says anything."""

    def received(self, _: bytes) -> None:
        pass

    def half_closed(self) -> None:
        pass


class Count(Echo):
    """Asked for a number, sends as many messages of 100 bytes as fast as they are read."""

    left = 0

    def received(self, message: bytes) -> None:
        self.left = int(message)

    def half_closed(self) -> None:
        self.writable()

    def writable(self) -> None:
        while self.left and self.call.try_send(b"%0100d" % self.left):
            self.left -= 1
        if not self.left:
            self.call.end()


class Service:
    def __init__(self) -> None:
        self.silent, self.counting, self.echo = Calls(Silent), Calls(Count), Calls(Echo)
        self.methods = {
            REVERSE: unary(reverse),
            ECHO: self.echo.accept,
            "/test.Test/Count": self.counting.accept,
            "/test.Test/Silent": self.silent.accept,
            "/test.Test/Full": full,
        }


@contextlib.asynccontextmanager
async def service(
    listen: str = f"{HOST}:0", tls: TlsFiles | None = None
) -> AsyncIterator[tuple[Service, Http2Server, str]]:
    found = Service()
    async with serving(found.methods, listen=listen, tls=tls) as (server, address):
        yield found, server, address


async def printed_by(*command: str | Path, given: bytes = b"") -> bytes:
    def run() -> bytes:
        done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return await asyncio.to_thread(run)


async def node(address: str, scenario: str) -> Any:
    found = await asyncio.to_thread(grpc_js)
    return json.loads(await printed_by(found.node, found.script, found.modules, address, scenario))


def run_node(scenario: str) -> Any:
    """What the client saw."""

    async def ask() -> Any:
        async with service() as (_, _, address):
            return await node(address, scenario)

    return asyncio.run(ask())


@pytest.mark.parametrize(("scenario", "answer"), [("unary", b"cba"), ("compressed", b"cba" * 10_000)])
def test_a_unary_call_of_grpc_js_is_answered_also_a_compressed_one(scenario: str, answer: bytes) -> None:
    seen = run_node(scenario)
    assert (seen["code"], base64.b64decode(seen["answer"])) == (0, answer)


@pytest.mark.parametrize(
    ("scenario", "sizes"), [("large", [0, 1, 16_384, 65_535, 200_000]), ("small", [40] * 5_000)]
)
def test_both_ways_at_once_grpc_js_gets_back_what_it_sends(scenario: str, sizes: list[int]) -> None:
    assert run_node(scenario) == {"got": sizes, "code": 0}


def test_grpc_js_reads_a_stream_to_its_end() -> None:
    assert run_node("stream") == {"count": 3_000, "total": 300_000, "code": 0, "message": ""}


def test_a_stream_that_grpc_js_cancels_is_gone_here() -> None:
    async def scenario() -> None:
        async with service() as (found, server, address):
            seen = await node(address, "cancelled")
            assert seen["code"] == 1
            assert seen["count"] < 1_000_000
            await until(lambda: found.counting.gone == 1, "it has gone")
            await until(lambda: not server.connections, "and its connection")

    asyncio.run(scenario())


def test_a_deadline_of_grpc_js_ends_the_call_on_both_sides() -> None:
    async def scenario() -> None:
        async with service() as (found, server, address):
            assert (await node(address, "deadline"))["code"] == 4
            await until(lambda: found.silent.gone == 1, "it has gone")
            assert server.streams == 0

    asyncio.run(scenario())


def test_grpc_js_reads_when_to_come_again() -> None:
    seen = run_node("refused")
    assert (seen["code"], seen["message"]) == (8, FULL)
    status = Status.FromString(base64.b64decode(seen["details"]))
    assert (status.code, status.message) == (8, FULL)
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 3_500


def test_a_method_that_is_unknown_is_said_to_be() -> None:
    seen = run_node("unknown")
    assert seen["code"] == 12
    assert "/test.Test/Nothing" in seen["message"]


def test_a_compression_that_is_not_known_is_refused_with_those_that_are() -> None:
    seen = run_node("encoding")
    assert (seen[":status"], seen["grpc-status"]) == (200, "12")
    assert seen["grpc-accept-encoding"] == "identity,deflate,gzip"
    assert "br" in seen["grpc-message"]


# curl, which is nghttp2.

AS_GRPC = ("content-type: application/grpc", "te: trailers")
PLAIN = {pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE}


async def curl_says(url: str, options: Mapping[int, object], *headers: str, given: bytes) -> Answer:
    return await asyncio.to_thread(curl, url, given, {pycurl.HTTPHEADER: [*AS_GRPC, *headers], **options})


def test_curl_by_prior_knowledge_gets_the_answer_and_its_trailers() -> None:
    async def scenario() -> None:
        async with service() as (_, _, address):
            target = f"http://{address}"
            headers, body = await curl_says(target + REVERSE, PLAIN, given=message(b"abc"))
            assert body == message(b"cba")
            assert headers.startswith("HTTP/2 200 \n")
            assert "content-type: application/grpc\n" in headers
            assert "grpc-status: 0\n" in headers
            # More than any window, both ways.
            large = b"".join(message(bytes([n]) * 200_000) for n in range(20))
            _, body = await curl_says(target + ECHO, PLAIN, given=large)
            assert body == large
            headers, body = await curl_says(target + "/test.Test/Full", PLAIN, given=message(b""))
            assert "grpc-status: 8\n" in headers
            assert "grpc-status-details-bin: " in headers
            assert body == b""
            headers, _ = await curl_says(target + REVERSE, PLAIN, "grpc-encoding: br", given=message(b"abc"))
            assert "grpc-status: 12\n" in headers

    asyncio.run(scenario())


def test_curl_agrees_on_http2_by_alpn_and_comes_with_its_certificate(tmp_path: Path) -> None:
    mesh = Authority(tmp_path)
    own, client = mesh.issue("localhost", "server-"), mesh.issue("curl", "client-")
    trusting = {pycurl.CAINFO: str(mesh.certificate)}
    shown = {**trusting, pycurl.SSLCERT: str(client.chain), pycurl.SSLKEY: str(client.key)}

    async def scenario() -> None:
        async with service(tls=TlsFiles(own.chain, own.key, mesh.certificate)) as (_, server, address):
            url = f"https://localhost:{address.rpartition(':')[2]}{REVERSE}"
            headers, body = await curl_says(url, shown, given=message(b"abc"))
            assert body == message(b"cba")
            assert headers.startswith("HTTP/2 200 \n")
            with pytest.raises(pycurl.error):
                await curl_says(url, trusting, given=message(b"abc"))
            assert server.streams_opened == 1

    asyncio.run(scenario())


def test_curl_comes_over_a_unix_socket() -> None:
    async def scenario(path: Path) -> None:
        async with service(f"unix:{path}"):
            options = {**PLAIN, pycurl.UNIX_SOCKET_PATH: str(path)}
            _, body = await curl_says(f"http://x{REVERSE}", options, given=message(b"abc"))
            assert body == message(b"cba")

    # The path of a socket is bounded, and pytest's own may be long.
    with TemporaryDirectory(prefix="gs-") as folder:
        asyncio.run(scenario(Path(folder) / "socket"))
