"""Where the engine listens: Unix sockets, their files, and what a call knows of its peer."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from mesh.http2 import sockets
from mesh.http2.call import Call, Handler
from mesh.http2.server import Http2Server
from tests.support.http2_service import ECHO, HOST, Echo, serving

WHO = "/test.Test/Who"


class Who(Echo):
    """Answers with the address of who asks."""

    def received(self, _: bytes) -> None:
        self.call.send(self.call.peer.encode())


def who(call: Call) -> Handler:
    return Who(call)


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: a socket's is bounded."""
    with TemporaryDirectory(prefix="gs-") as name:
        yield Path(name)


def at(path: Path) -> str:
    return f"unix:{path}"


async def ask(address: str, path: str = ECHO, message: bytes = b"hello") -> bytes:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        return await channel.unary_unary(path)(message, timeout=20.0)


@contextlib.asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Http2Server]:
    async with serving({ECHO: Echo, WHO: who}, listen=at(path)) as (server, _):
        yield server


def test_calls_come_over_a_unix_socket_that_is_its_users_alone(folder: Path) -> None:
    async def scenario() -> None:
        path = folder / "a socket"
        async with listening(path):
            found = path.lstat().st_mode
            assert stat.S_ISSOCK(found)
            assert stat.S_IMODE(found) == 0o600
            assert await ask(at(path)) == b"hello"
            assert await ask(at(path), WHO) == b""

    asyncio.run(scenario())
    assert list(folder.iterdir()) == []


def test_over_tcp_a_call_knows_the_address_it_came_from() -> None:
    async def scenario() -> None:
        async with serving({WHO: who}) as (_, address):
            assert await ask(address, WHO) == HOST.encode()
        async with serving({WHO: who}, listen="[::1]:0") as (server, _):
            port = server._listener.sockets[0].getsockname()[1]  # type: ignore[union-attr]
            assert await ask(f"[::1]:{port}", WHO) == b"::1"

    asyncio.run(scenario())


def test_the_file_of_who_was_killed_is_replaced(folder: Path) -> None:
    path = folder / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    async def scenario() -> None:
        async with listening(path):
            assert await ask(at(path)) == b"hello"
        assert not path.exists()

    asyncio.run(scenario())


def test_the_place_of_one_that_listens_is_not_taken(folder: Path) -> None:
    path = folder / "taken"

    async def scenario() -> None:
        async with listening(path):
            with pytest.raises(OSError, match=r"cannot listen on unix:.*another process listens"):
                await Http2Server({}, message_bytes_max=1).start(at(path))
            assert await ask(at(path)) == b"hello"

    asyncio.run(scenario())


def test_one_that_is_too_busy_to_accept_keeps_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_CONNECT_PATIENCE_S", 0.05)
    path = folder / "busy"
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as stack:
        busy.bind(str(path))
        busy.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.setblocking(False)
        waiting.connect(str(path))
        with pytest.raises(OSError, match="another process listens"):
            sockets.vacate(path)
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(kind: str, folder: Path) -> None:
    path = folder / "mine"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "elsewhere")

    async def scenario() -> None:
        with pytest.raises(OSError, match=r"cannot listen on .*that is no socket; move it away"):
            await Http2Server({}, message_bytes_max=1).start(at(path))

    asyncio.run(scenario())
    assert os.path.lexists(path)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (f"unix:/{'x' * sockets.PATH_BYTES_MAX}", f"{sockets.PATH_BYTES_MAX + 1} bytes; a socket's path has"),
        ("unix:relative", "with an absolute path"),
        ("unix:", "with an absolute path"),
        ("unix:@abstract", "with an absolute path"),
        ("unix:/nowhere/at/all", "No such file or directory"),
        ("no port", "cannot listen on no port"),
    ],
)
def test_an_address_that_is_none_is_an_error_that_names_it(address: str, says: str) -> None:
    async def scenario() -> None:
        with pytest.raises(OSError, match="cannot listen on") as refused:
            await Http2Server({}, message_bytes_max=1).start(address)
        assert says in str(refused.value)

    asyncio.run(scenario())


def test_the_longest_path_there_may_be_is_one(folder: Path) -> None:
    name = "x" * (sockets.PATH_BYTES_MAX - len(str(folder)) - 1)
    with sockets.listen_unix(at(folder / name)).raw as raw:
        assert len(raw.getsockname()) == sockets.PATH_BYTES_MAX


def test_a_server_that_goes_leaves_the_file_of_its_successor(folder: Path) -> None:
    async def scenario() -> None:
        path = folder / "socket"
        async with listening(path):
            path.unlink()
            async with listening(path):
                assert await ask(at(path)) == b"hello"
                inode = path.lstat().st_ino
                # The first goes, whose file it is not.
                async with listening(folder / "other"):
                    pass
                assert path.lstat().st_ino == inode
                path.unlink()
                path.write_text("somebody else's by now")
            assert path.exists()

    asyncio.run(scenario())


def test_who_looks_and_takes_the_place_keeps_others_from_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that is bound, and does not listen yet, would look like one that was killed."""
    steps: list[str] = []

    def is_locked(step: str) -> None:
        found = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(found)
        steps.append(step)

    class Watched(socket.socket):
        def listen(self, *arguments: int) -> None:
            is_locked("listen")
            super().listen(*arguments)

    monkeypatch.setattr(sockets, "vacate", lambda _: is_locked("vacate"))
    monkeypatch.setattr(socket, "socket", Watched)
    sockets.listen_unix(at(folder / "socket")).raw.close()
    assert steps == ["vacate", "listen"]


def test_of_many_that_start_at_once_one_listens(folder: Path) -> None:
    path = folder / "contended"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    found: list[sockets.SocketFile] = []
    refused: list[OSError] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        try:
            found.append(sockets.listen_unix(at(path)))
        except OSError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(refused)) == (1, 7)
    found[0].remove()
    found[0].raw.close()
    assert not path.exists()
