"""Both listeners of a service: TCP and Unix sockets, with TLS and without."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.config import parse
from mesh.http2.tls import TlsFiles
from mesh.listener import GrpcListener, Http2Listener
from tests.support.certificates import Authority, Certificates
from toolbox.local.ports import Ports

Kind = type[GrpcListener] | type[Http2Listener]
KINDS: tuple[Kind, ...] = (GrpcListener, Http2Listener)
NAME = "ingest.test"
HOST = "127.0.0.1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: a socket's is bounded."""
    with TemporaryDirectory(prefix="gs-") as name:
        yield Path(name)


@pytest.fixture
def address() -> Iterator[str]:
    ports = Ports()
    yield f"{HOST}:{ports.take()}"
    ports.close()


async def health(address: str, credentials: grpc.ChannelCredentials | None = None) -> int:
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
    channel = (
        grpc.aio.insecure_channel(address, options=options[1:])
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=options)
    )
    async with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="x.X"), timeout=20.0)
    return int(answer.status)


def shown_by(client: Certificates | None, authority: Path) -> grpc.ChannelCredentials:
    if client is None:
        return grpc.ssl_channel_credentials(authority.read_bytes())
    return grpc.ssl_channel_credentials(
        authority.read_bytes(), client.key.read_bytes(), client.chain.read_bytes()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_unix_socket_serves_its_user_alone_and_goes_with_its_server(kind: Kind, folder: Path) -> None:
    async def scenario() -> None:
        path = folder / "socket"
        for _ in range(2):
            listener, second = kind(["x.X"], 1024), kind(["x.X"], 1024)
            await listener.start(f"unix:{path}")
            mode = await asyncio.to_thread(path.lstat)
            assert stat.S_IMODE(mode.st_mode) == 0o600
            assert await health(f"unix:{path}") == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(OSError, match="another process listens"):
                await second.start(f"unix:{path}")
            await second.stop(0.0)
            assert await health(f"unix:{path}") == health_pb2.HealthCheckResponse.SERVING
            await listener.stop(0.0)

    asyncio.run(scenario())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_with_tls_only_the_meshs_own_may_call(kind: Kind, tmp_path: Path, address: str) -> None:
    mesh, strangers = Authority(tmp_path / "mesh"), Authority(tmp_path / "strangers")
    own = mesh.issue(NAME)
    client, stranger = mesh.issue("envoy", "client-"), strangers.issue("envoy")

    async def scenario() -> None:
        listener = kind(["x.X"], 1024, TlsFiles(own.chain, own.key, mesh.certificate))
        await listener.start(address)
        try:
            good = shown_by(client, mesh.certificate)
            assert await health(address, good) == health_pb2.HealthCheckResponse.SERVING
            for who in (None, stranger):
                with pytest.raises(grpc.aio.AioRpcError):
                    await health(address, shown_by(who, mesh.certificate))
            with pytest.raises(grpc.aio.AioRpcError):
                await health(address)
        finally:
            await listener.stop(0.0)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_is_renewed_without_a_restart(kind: Kind, tmp_path: Path, address: str) -> None:
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    own = first.issue(NAME)

    async def scenario() -> None:
        listener = kind(["x.X"], 1024, TlsFiles(own.chain, own.key))
        await listener.start(address)
        try:
            assert await health(address, shown_by(None, first.certificate))
            renewed = second.issue(NAME)
            renewed.key.replace(own.key)
            renewed.chain.replace(own.chain)
            assert await health(address, shown_by(None, second.certificate))
            own.chain.write_text("half of it")
            assert await health(address, shown_by(None, second.certificate))
        finally:
            await listener.stop(0.0)

    asyncio.run(scenario())


NEEDED = ("--nats", "nats://x", "--redis", "redis://x", "--mesh", "x:1", "--instance", "gateway-1")


def test_a_service_is_told_where_to_listen_and_with_which_certificates() -> None:
    plain = parse("gateway", ["--listen", "127.0.0.1:80", *NEEDED])
    assert (plain.listen, plain.tls) == ("127.0.0.1:80", None)
    certificates = ["--tls-cert", "a.pem", "--tls-key", "b.pem"]
    by_socket = parse("gateway", ["--listen", "unix:/run/x", *certificates, *NEEDED])
    assert by_socket.listen == "unix:/run/x"
    assert by_socket.tls == TlsFiles(Path("a.pem"), Path("b.pem"))
    mutual = parse("gateway", ["--listen", "[::]:80", *certificates, "--tls-client-ca", "c.pem", *NEEDED])
    assert mutual.tls == TlsFiles(Path("a.pem"), Path("b.pem"), Path("c.pem"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "unix:relative"], "with an absolute path"),
        (["--listen", f"unix:/{'x' * 200}"], "201 bytes; a socket's path has"),
        (["--listen", "nowhere"], "is not HOST:PORT"),
        (["--listen", "x:1", "--tls-cert", "a.pem"], "go together"),
        (["--listen", "x:1", "--tls-key", "a.pem"], "go together"),
        (["--listen", "x:1", "--tls-client-ca", "a.pem"], "there is no TLS without"),
    ],
)
def test_what_cannot_be_is_one_usage_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("gateway", [*arguments, *NEEDED])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
