"""Somebody else's NATS and Redis that cannot be used: `up` says why, and ends before anything is started."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mesh.jetstream.bus import Bus
from tests.support.certificates import Authority
from tests.support.commands import failed
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, listens
from toolbox.local import nats_check, provision, redis_check
from toolbox.local.errors import MeshError
from toolbox.local.ports import Ports
from toolbox.local.redis_check import Keeping, objection

PASSWORD = "p@ss:w/rd %25 100%"


@contextlib.contextmanager
def program(command: list[str | Path], port: int) -> Iterator[int]:
    """A server that runs, by its port."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: listens(port), "it listens")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def port() -> Iterator[int]:
    with contextlib.closing(Ports()) as ports:
        yield ports.take()


@contextlib.contextmanager
def nats(port: int, folder: Path, *arguments: str | Path, jetstream: bool = True) -> Iterator[int]:
    store = ("-js", "-sd", folder) if jetstream else ()
    command: list[str | Path] = [provision.nats_server(), "-a", HOST, "-p", str(port), *store, *arguments]
    with program(command, port):
        yield port


@contextlib.contextmanager
def valkey(port: int, folder: Path, *arguments: str) -> Iterator[int]:
    command: list[str | Path] = [
        *(provision.valkey_server(), "--bind", HOST, "--port", str(port), "--dir", str(folder)),
        *arguments,
    ]
    with program(command, port):
        yield port


@contextlib.contextmanager
def greeter(greeting: bytes) -> Iterator[int]:
    """A server of something else: it says `greeting`, if any, and goes on listening."""
    with socket.create_server((HOST, 0)) as server:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        with threaded(serve, server):
            yield server.getsockname()[1]


@contextlib.contextmanager
def threaded(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], at: socket.socket
) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, sock=at), loop).result()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def refusal(check: Callable[[str, bool], object], url: str) -> str:
    with pytest.raises(MeshError) as refused:
        check(url, False)
    assert "secret" not in str(refused.value)
    return str(refused.value)


SSH, SILENCE = b"SSH-2.0-OpenSSH_9.2\r\n", b""


class TestNats:
    def test_a_closed_port(self, port: int) -> None:
        url = f"nats://ann:secret@{HOST}:{port}"
        assert refusal(nats_check.check_url, url) == (
            f"NATS at {HOST}:{port}: connection refused: nothing listens there"
        )

    def test_a_wrong_password(self, port: int, tmp_path: Path) -> None:
        with nats(port, tmp_path, "--user", "ann", "--pass", "right"):
            said = refusal(nats_check.check_url, f"nats://ann:secret@{HOST}:{port}")
        assert "it refuses the user or the password (Authorization Violation)" in said

    @pytest.mark.parametrize(
        ("greeting", "reason"),
        [
            (SSH, "what answers there is not NATS"),
            (SILENCE, "nothing that speaks NATS answered"),
        ],
    )
    def test_a_foreign_port(self, greeting: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nats_check, "ANSWER_WITHIN_S", 0.5)
        with greeter(greeting) as port:
            assert reason in refusal(nats_check.check_url, f"nats://{HOST}:{port}")

    def test_a_certificate_of_an_unknown_authority(self, port: int, tmp_path: Path) -> None:
        of = Authority(tmp_path / "tls").issue("localhost")
        with nats(port, tmp_path, "--tls", "--tlscert", of.chain, "--tlskey", of.key):
            said = refusal(nats_check.check_url, f"tls://localhost:{port}")
        assert "its certificate is not trusted" in said
        assert "SSL_CERT_FILE" in said

    def test_tls_asked_of_a_server_without(self, port: int, tmp_path: Path) -> None:
        with nats(port, tmp_path):
            assert "does not ask for TLS" in refusal(nats_check.check_url, f"tls://{HOST}:{port}")

    def test_one_without_jetstream(self, port: int, tmp_path: Path) -> None:
        with nats(port, tmp_path, jetstream=False):
            assert "it has no JetStream" in refusal(nats_check.check_url, f"nats://{HOST}:{port}")

    def test_one_of_several_that_answers_is_enough(self, port: int, tmp_path: Path) -> None:
        with nats(port, tmp_path):
            assert nats_check.check_url(f"nats://{HOST}:1,nats://{HOST}:{port}", False).version

    def test_a_percent_encoded_password_is_decoded(self, port: int, tmp_path: Path) -> None:
        url = f"nats://ann%40home:{quote(PASSWORD, safe='')}@{HOST}:{port}"

        async def connects() -> bool:
            bus = await Bus.connect(url, "a test")
            try:
                return bus.client.is_connected
            finally:
                await bus.close()

        with nats(port, tmp_path, "--user", "ann@home", "--pass", PASSWORD):
            assert nats_check.check_url(url, False).version
            assert asyncio.run(asyncio.wait_for(connects(), 5.0))


class TestRedis:
    def test_a_closed_port(self, port: int) -> None:
        assert refusal(redis_check.check_url, f"redis://:secret@{HOST}:{port}/1") == (
            f"Redis at redis://{HOST}:{port}/1: connection refused: nothing listens there"
        )

    def test_a_wrong_password(self, port: int, tmp_path: Path) -> None:
        with valkey(port, tmp_path, "--requirepass", "right"):
            for login in (":secret@", ""):
                said = refusal(redis_check.check_url, f"redis://{login}{HOST}:{port}")
                assert "it refuses the user or the password" in said

    @pytest.mark.parametrize(
        ("greeting", "reason"),
        [
            (SSH, "what answers there is not Redis"),
            (SILENCE, "nothing that speaks Redis answered"),
        ],
    )
    def test_a_foreign_port(self, greeting: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis_check, "ANSWER_WITHIN_S", 0.5)
        with greeter(greeting) as port:
            assert reason in refusal(redis_check.check_url, f"redis://{HOST}:{port}")

    def test_tls_asked_of_a_server_without(self, port: int, tmp_path: Path) -> None:
        with valkey(port, tmp_path):
            said = refusal(redis_check.check_url, f"rediss://{HOST}:{port}")
        assert "TLS" in said

    def test_a_url_that_is_none(self) -> None:
        assert "redis://" in refusal(redis_check.check_url, "localhost:6379")

    def test_a_policy_that_evicts_and_no_persistence_are_said_and_no_production(
        self, port: int, tmp_path: Path
    ) -> None:
        url = f"redis://{HOST}:{port}"
        with valkey(port, tmp_path, "--save", "", "--maxmemory-policy", "allkeys-lru"):
            found = redis_check.check_url(url, False)
            assert found.warning == (
                f"Redis at {url} evicts keys when its memory is full (maxmemory-policy allkeys-lru);"
                " set maxmemory-policy noeviction, and keeps nothing on disk"
                ' (appendonly no, save ""); set appendonly yes'
            )
            with pytest.raises(MeshError) as refused:
                redis_check.check_url(url, True)
            assert str(refused.value) == f"--production: {found.warning}"

    @pytest.mark.parametrize("kept", [("--appendonly", "yes"), ("--save", "60 1")])
    def test_one_that_keeps_what_it_is_given_is_fine(
        self, port: int, tmp_path: Path, kept: tuple[str, str]
    ) -> None:
        with valkey(port, tmp_path, *kept):
            assert redis_check.check_url(f"redis://{HOST}:{port}", True).warning == ""


def test_what_a_managed_redis_does_not_tell_is_not_objected_to() -> None:
    assert objection("x", {"": Keeping("noeviction", None)}) == ""
    assert objection("x", {"": Keeping("", None)}) == ""


def test_one_node_of_a_cluster_that_evicts_is_enough_for_an_objection() -> None:
    found = {"a:1": Keeping("noeviction", True), "b:1": Keeping("volatile-ttl", True)}
    assert "maxmemory-policy volatile-ttl" in objection("x", found)


def test_up_ends_with_the_reason_and_starts_nothing(tmp_path: Path) -> None:
    with contextlib.closing(Ports()) as ports:
        up = ("up", "--no-demo", "--port", str(ports.take()), "--mesh-port", str(ports.take()), "--no-canary")
        for option, url in (("--redis", f"redis://{HOST}:1"), ("--nats", f"nats://{HOST}:1")):
            said = failed(tmp_path / "home", *up, option, url)
            assert said.rstrip().endswith("connection refused: nothing listens there")
    assert not list((tmp_path / "home" / "logs").iterdir())
