"""TLS on the engine: who may connect, what is agreed, and certificates that change under way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.errors import Cause
from mesh.http2.server import Http2Server
from mesh.http2.tls import Tls, TlsFiles
from tests.support.certificates import Authority, Certificates
from tests.support.games import until
from tests.support.http2_peer import Peer, data, message, request_fields, split
from tests.support.http2_service import ECHO, HOST, Echo, serving

NAME = "gateway.test"
LARGE = b"\7" * 200_000


def files(certificates: Certificates, client_ca: Path | None = None) -> TlsFiles:
    return TlsFiles(certificates.chain, certificates.key, client_ca)


def trusting(authority: Path, own: Certificates | None = None, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if own is not None:
        context.load_cert_chain(own.chain, own.key)
    return context


@contextlib.asynccontextmanager
async def connected(
    address: str, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=NAME)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def credentials_of(authority: Path, own: Certificates | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.read_bytes(),
        own.key.read_bytes() if own else None,
        own.chain.read_bytes() if own else None,
    )


async def ask(address: str, authority: Path, own: Certificates | None = None) -> bytes:
    """A message that takes several records, both ways, from a client that comes for it alone."""
    credentials = credentials_of(authority, own)
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        answer: bytes = await channel.unary_unary(ECHO)(LARGE, timeout=20.0)
    return answer


async def is_refused(address: str, authority: Path, own: Certificates | None = None) -> bool:
    try:
        await ask(address, authority, own)
    except grpc.aio.AioRpcError as error:
        return error.code() == grpc.StatusCode.UNAVAILABLE
    return False


def test_calls_come_over_tls(tmp_path: Path) -> None:
    own = Certificates.made(tmp_path, NAME)
    other = Authority(tmp_path / "other")

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (server, address):
            assert await ask(address, own.authority) == LARGE
            assert await is_refused(address, other.certificate)
            await until(lambda: not server.connections, "they have gone")

    asyncio.run(scenario())


def test_with_an_authority_only_its_clients_may_call(tmp_path: Path) -> None:
    own = Certificates.made(tmp_path / "server", NAME)
    mesh, strangers = Authority(tmp_path / "mesh"), Authority(tmp_path / "strangers")
    client, stranger = mesh.issue("envoy"), strangers.issue("envoy")

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own, mesh.certificate)) as (server, address):
            assert await ask(address, own.authority, client) == LARGE
            assert await is_refused(address, own.authority)
            assert await is_refused(address, own.authority, stranger)
            assert server.streams_opened == 1

    asyncio.run(scenario())


def test_tls_1_2_is_the_oldest_and_h2_is_agreed(tmp_path: Path) -> None:
    own = Certificates.made(tmp_path, NAME)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (_, address):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = trusting(own.authority, None, "http/1.1", "h2")
                context.minimum_version = context.maximum_version = version
                async with connected(address, context) as (reader, writer):
                    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
                    assert agreed.selected_alpn_protocol() == "h2"
                    assert "GCM" in str(agreed.cipher()) or "CHACHA20" in str(agreed.cipher())
                    assert split(await reader.readexactly(f.HEAD_BYTES + 24))[0].kind == f.SETTINGS
            old = trusting(own.authority, None, "h2")
            old.set_ciphers("DEFAULT@SECLEVEL=0")
            old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            with pytest.warns(DeprecationWarning, match="OP_NO"):
                old.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(address, old):
                    pass
            weak = trusting(own.authority, None, "h2")
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(address, weak):
                    pass

    asyncio.run(scenario())


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_who_does_not_agree_on_h2_is_closed(alpn: tuple[str, ...], tmp_path: Path) -> None:
    own = Certificates.made(tmp_path, NAME)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (server, address):
            async with connected(address, trusting(own.authority, None, *alpn)) as (reader, _):
                async with asyncio.timeout(20.0):
                    assert await reader.read() == b""
            assert server.connections == 0
            assert await ask(address, own.authority) == LARGE

    asyncio.run(scenario())


def test_what_comes_with_the_end_of_the_handshake_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In TLS 1.3 a client's preface and calls travel with its last word of the handshake."""
    # All of it, also if it is more than is read at once.
    monkeypatch.setattr(bounds, "READ_BYTES", 1_000)
    own = Certificates.made(tmp_path, NAME)
    client = Peer()
    sent = f.PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 2**20}) + f.window_update(0, 2**20)
    sent += client.headers(1, request_fields(ECHO))
    sent += b"".join(data(1, message(b"%05d" % number * 300)) for number in range(100))
    sent += data(1, message(b"last"), last=True)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (_, address):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            shaking = trusting(own.authority, None, "h2").wrap_bio(incoming, outgoing, server_hostname=NAME)
            reader, writer = await asyncio.open_connection(HOST, int(address.rpartition(":")[2]))
            while True:
                try:
                    shaking.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65_536))
            # The end of the handshake and all of this in one write.
            shaking.write(sent)
            writer.write(outgoing.read())
            said = b""
            async with asyncio.timeout(20.0):
                while message(b"last") not in said:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        said += shaking.read(65_536)
                        continue
                    came = await reader.read(65_536)
                    assert came, "it was closed"
                    incoming.write(came)
            writer.close()

    asyncio.run(scenario())


def test_new_connections_get_the_certificate_that_is_there_by_then(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    own, clients = first.issue(NAME), Authority(tmp_path / "clients")
    old, new = clients.issue("old"), Authority(tmp_path / "later").issue("new")

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own, clients.certificate)) as (_, address):
            context = trusting(first.certificate, old, "h2")
            async with connected(address, context) as (reader, writer):
                made = second.issue(NAME)
                made.chain.replace(own.chain)
                made.key.replace(own.key)
                new.authority.replace(clients.certificate)
                assert await ask(address, second.certificate, new) == LARGE
                assert await is_refused(address, first.certificate, new)
                assert await is_refused(address, second.certificate, old)
                # The first connection goes on as it was.
                writer.write(f.PREFACE + f.settings({}) + f.frame(f.PING, 0, 0, b"12345678"))
                assert b"12345678" in await reader.readuntil(b"12345678")

    asyncio.run(scenario())


def test_a_certificate_that_is_half_written_leaves_the_old_one_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Certificates.made(tmp_path, NAME)
    tls = Tls(files(own))
    context = tls.context()
    assert tls.context() is context
    whole = own.chain.read_bytes()
    with caplog.at_level(logging.WARNING):
        own.chain.write_bytes(whole[: len(whole) // 2])
        assert tls.context() is context
        own.chain.unlink()
        assert tls.context() is context
        assert tls.context() is context
    assert len(caplog.messages) == 2
    assert str(own.chain) in caplog.messages[0]
    own.chain.write_bytes(whole)
    assert tls.context() is not context


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("certificate", "no certificate with its key"),
        ("key", "no certificate with its key"),
        ("ca", "ca.pem"),
    ],
)
def test_files_that_are_no_certificates_are_named_at_once(wrong: str, says: str, tmp_path: Path) -> None:
    own, other = Certificates.made(tmp_path / "1", NAME), Certificates.made(tmp_path / "2", NAME)
    ca = tmp_path / "ca.pem"
    ca.write_text("nothing")
    made = {
        "certificate": TlsFiles(tmp_path / "missing.pem", own.key),
        "key": TlsFiles(own.chain, other.key),
        "ca": TlsFiles(own.chain, own.key, ca),
    }[wrong]
    with pytest.raises(OSError, match=says):
        Http2Server({}, message_bytes_max=1, tls=made)


def test_handshakes_that_never_end_are_bounded_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "HANDSHAKES_MAX", 3)
    monkeypatch.setattr(bounds, "HANDSHAKE_PATIENCE_S", 1.5)
    own = Certificates.made(tmp_path, NAME)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (server, address):
            port = int(address.rpartition(":")[2])
            silent = [await asyncio.open_connection(HOST, port) for _ in range(3)]
            await until(lambda: len(server._handshakes) == 3, "three shake hands")
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            # While the others may go on.
            assert len(server._handshakes) == 3
            assert server.terminations.of(Cause.NO_ROOM) == 1
            async with asyncio.timeout(20.0):
                for reader, writer in silent:
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                    writer.close()
            await until(lambda: not server._handshakes, "they are ended")
            assert await ask(address, own.authority) == LARGE

    asyncio.run(scenario())


def test_garbage_instead_of_tls_costs_nobody_else_anything(tmp_path: Path) -> None:
    own = Certificates.made(tmp_path, NAME)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (server, address):
            port = int(address.rpartition(":")[2])
            for sent in (f.PREFACE, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.write(sent)
                await writer.drain()
                writer.close()
            assert await ask(address, own.authority) == LARGE
            await until(lambda: not server._handshakes and not server.connections, "nothing is left")

    asyncio.run(scenario())


def test_a_server_that_closes_cuts_those_in_the_handshake(tmp_path: Path) -> None:
    own = Certificates.made(tmp_path, NAME)

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=files(own)) as (server, address):
            reader, writer = await asyncio.open_connection(HOST, int(address.rpartition(":")[2]))
            await until(lambda: len(server._handshakes) == 1, "it shakes hands")
            async with asyncio.timeout(5.0):
                await server.close(0.0)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
            assert not server._handshakes

    asyncio.run(scenario())
