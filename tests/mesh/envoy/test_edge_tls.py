"""The edge with TLS, and before proxies: a real Envoy, and clients that check its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.envoy import edge_tls, listeners
from mesh.envoy.config import EnvoyConfig
from mesh.envoy.page import MISSING
from tests.support.envoy_proxy import proxy
from tests.support.http2_service import HOST
from tests.support.servers import eventually
from tests.support.supervision import PATIENT, supervised
from toolbox.local import certificates
from toolbox.local.edge_certificate import EdgeCertificate
from toolbox.local.home import Home
from toolbox.local.ports import Ports

WITHIN_S = 10.0
HTTP1, H2 = "http/1.1", "h2"


@dataclass
class Edge:
    home: Home
    config: EnvoyConfig
    certificate: EdgeCertificate
    authority: Path

    def renew(self, *names: str) -> None:
        certificates.make(self.authority.parent, names)
        assert self.certificate.look()
        assert self.certificate.problem == ""

    async def connect(self, name: str, *protocols: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """By a name that must be in its certificate. Raises ssl.SSLError."""
        context = ssl.create_default_context(cafile=self.authority)
        context.set_alpn_protocols(list(protocols))
        at = self.config.edge
        async with asyncio.timeout(WITHIN_S):
            return await asyncio.open_connection(at.host, at.port, ssl=context, server_hostname=name)

    async def get(self, name: str, host: str) -> dict[str, str]:
        """The headers of the page."""
        reader, writer = await self.connect(name, HTTP1)
        with contextlib.closing(writer):
            writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
            # Not to its end: Envoy keeps a connection open for a second after its last byte.
            head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        assert head[0] == "HTTP/1.1 200 OK"
        return dict(line.split(": ", 1) for line in head[1:])

    async def is_shown(self, name: str) -> bool:
        """Whether the certificate is good for the name."""
        try:
            _, writer = await self.connect(name, H2)
        except ssl.SSLError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def edge(tmp_path: Path, *names: str, **changes: Any) -> AsyncIterator[Edge]:
    home = Home(tmp_path / "home")
    home.create()
    made = certificates.make(home.root / "certs", names)
    certificate = EdgeCertificate(made.chain, made.key, home.edge_secret, production=True)
    with contextlib.closing(Ports()) as ports:
        spec, config = proxy(home, ports, {}, edge_tls=certificate.tls, page=(MISSING,), **changes)
        async with supervised(home, spec, policy=PATIENT):
            yield Edge(home, config, certificate, made.authority)


def test_the_edge_speaks_both_protocols_by_tls_and_demands_it_next_time_of_names_alone(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with edge(tmp_path, "game.example") as at:
            for protocol in (HTTP1, H2):
                _, writer = await at.connect("game.example", H2, protocol)
                assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == H2
                writer.close()
            _, writer = await at.connect("localhost", HTTP1)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == HTTP1
            writer.close()
            for host in ("game.example", f"game.example:{at.config.edge.port}"):
                headers = await at.get("game.example", host)
                assert headers["strict-transport-security"] == edge_tls.HSTS
            for host in ("localhost", f"localhost:{at.config.edge.port}", HOST):
                assert "strict-transport-security" not in await at.get("localhost", host)

    asyncio.run(scenario())


def test_a_renewed_certificate_is_taken_while_open_connections_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with edge(tmp_path, "old.example") as at:
            reader, writer = await at.connect("old.example", HTTP1)
            assert not await at.is_shown("new.example")
            at.renew("new.example")
            await eventually(lambda: at.is_shown("new.example"), "the new one is shown")
            assert not await at.is_shown("old.example")
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(scenario())


def test_who_does_not_finish_the_handshake_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "FIRST_BYTES_WITHIN_S", 0.3)
    monkeypatch.setattr(edge_tls, "HANDSHAKE_WITHIN_S", 0.3)

    async def scenario() -> None:
        async with edge(tmp_path) as at:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            for said in (b"", outgoing.read()):
                reader, writer = await asyncio.open_connection(at.config.edge.host, at.config.edge.port)
                writer.write(said)
                async with asyncio.timeout(WITHIN_S):
                    with contextlib.suppress(ConnectionError):
                        await reader.read()
                writer.close()

    asyncio.run(scenario())


def test_behind_a_proxy_nobody_else_may_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_LOOPBACK", ())

    async def answer(at: EnvoyConfig, address: str) -> bytes:
        made = socket.socket()
        made.bind((address, 0))
        made.connect((at.edge.host, at.edge.port))
        reader, writer = await asyncio.open_connection(sock=made)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(WITHIN_S):
            with contextlib.suppress(ConnectionError):
                return await reader.read()
        return b""

    async def scenario() -> None:
        home = Home(tmp_path / "home")
        home.create()
        with contextlib.closing(Ports()) as ports:
            spec, config = proxy(home, ports, {}, page=(MISSING,), proxies=("127.0.2.0/24",))
            async with supervised(home, spec, policy=PATIENT):
                assert (await answer(config, "127.0.2.9")).startswith(b"HTTP/1.1 200")
                assert await answer(config, "127.0.3.9") == b""

    asyncio.run(scenario())
