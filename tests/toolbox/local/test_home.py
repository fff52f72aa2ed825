"""The home's lock, status and logs, and the ports of a mesh."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolbox.local import logfile, ports, status
from toolbox.local.errors import MeshError, from_os
from toolbox.local.home import Home, Lock, Tenant, clear_stale, tenant
from toolbox.local.logfile import LINE_BYTES_MAX, LineSplitter, LogFile
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout
from toolbox.local.spec import ProcessSpec, RunningProbe, check
from toolbox.local.status import Addresses, MeshStatus, ServiceStatus


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / ("a home with a long path " + "x" * 120))
    home.create()
    return home


def test_a_second_mesh_in_a_home_is_refused_and_told_which_runs(home: Home) -> None:
    lock = Lock(home)
    assert tenant(home) == Tenant(os.getpid(), running=True)
    with pytest.raises(MeshError, match=rf"already running in .* \(pid {os.getpid()}\)"):
        Lock(home)
    lock.release()
    assert tenant(home) is None
    Lock(home).release()


def test_a_pid_whose_process_was_killed_is_stale_even_if_the_number_lives_on(home: Home) -> None:
    program = (
        "import sys, pathlib, os, signal\n"
        "from toolbox.local.home import Home, Lock\n"
        "lock = Lock(Home(pathlib.Path(sys.argv[1])))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(home.root)], cwd=checkout(), check=False)
    assert killed.returncode == -9
    found = tenant(home)
    assert found is not None
    assert not found.running
    # Somebody else has the number now.
    home.lock.write_text(str(os.getpid()))
    assert tenant(home) == Tenant(os.getpid(), running=False)
    lock = Lock(home)
    assert lock.stale_pid == os.getpid()
    lock.release()
    assert tenant(home) is None


def test_what_a_killed_mesh_left_can_be_cleared(home: Home) -> None:
    home.lock.write_text("4711")
    home.status.write_text("{}")
    assert clear_stale(home) == 4711
    assert tenant(home) is None
    assert not home.status.exists()
    assert clear_stale(home) is None


def test_children_do_not_inherit_the_lock(home: Home) -> None:
    lock = Lock(home)
    child = subprocess.Popen(["sleep", "1000"], close_fds=False)
    try:
        lock.release()
        assert tenant(home) is None
        Lock(home).release()
    finally:
        child.kill()
        child.wait()


def test_a_disk_nearly_full_is_named_with_the_bound(home: Home) -> None:
    home.require_free(1)
    with pytest.raises(MeshError, match=r"only \d+ MiB are free in .*, the mesh needs \d+ MiB"):
        home.require_free(2**60)


def test_a_full_disk_is_said_in_one_line() -> None:
    said = str(from_os(OSError(errno.ENOSPC, "No space left on device"), "write /x/status.json"))
    assert said.startswith("disk full: cannot write /x/status.json")
    assert "\n" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_on_a_full_disk_loses_lines_and_nothing_else() -> None:
    log = LogFile(Path("/dev/full"))
    log.write(b"lost\n" * 10)
    assert log.bytes_lost == 50
    log.close()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MeshError, match=r"cannot create the folder .*file"):
        Home(tmp_path / "file" / "home").create()


def test_a_status_is_read_as_it_was_written_and_replaced_whole(home: Home) -> None:
    now = MeshStatus(
        pid=1,
        home=str(home.root),
        state="ready",
        addresses=Addresses("http://127.0.0.1:8080", "127.0.0.1:8081", "nats://n", "redis://r", None, None),
        services=(ServiceStatus("nats", 2, "ready", 0, "127.0.0.1:1", "/log", "", 0.1, False),),
    )
    status.write(home.status, now)
    assert status.read(home.status) == now
    assert [path.name for path in home.run.iterdir()] == ["status.json"]
    written = now.as_json()
    assert set(written) >= {"pid", "edge", "mesh", "nats", "redis", "otlp", "traces_ui", "services"}
    assert set(written["services"][0]) >= {"name", "pid", "state", "restarts", "address", "log"}
    assert now.headline == "ready"
    away = replace(now, services=(replace(now.services[0], state="backoff"),))
    assert away.headline == "recovering, nats away"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}', '{"services": [{"name": 1}]}'])
def test_a_status_that_is_not_ours_is_none(home: Home, text: str) -> None:
    home.status.write_text(text)
    assert status.read(home.status) is None


def test_a_log_starts_anew_when_it_is_full_and_keeps_its_predecessor(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = LogFile(path, bytes_max=100)
    for n in range(100):
        log.write(f"line {n:04}\n".encode())
        assert path.stat().st_size <= 100
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    assert logfile.tail(path, 2) == ["line 0098", "line 0099"]
    log = LogFile(path, bytes_max=100)
    log.write(b"the next run appends\n")
    log.close()
    assert "line 0099" in path.read_text() or "line 0099" in path.with_name("a.log.1").read_text()


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    whole, parts = LineSplitter(), LineSplitter()
    expected = whole.feed(b"".join(pieces)) + whole.end()
    found = [line for piece in pieces for line in parts.feed(piece)] + parts.end()
    assert found == expected
    assert all(line.isprintable() or "\t" in line for line in found)


def test_a_line_without_an_end_is_cut() -> None:
    lines = LineSplitter()
    found = lines.feed(b"x" * (3 * LINE_BYTES_MAX))
    found += lines.end()
    assert "".join(found) == "x" * (3 * LINE_BYTES_MAX)
    assert all(len(line) <= LINE_BYTES_MAX for line in lines.feed(b"y" * 10 * LINE_BYTES_MAX + b"\n"))


def test_a_log_line_cannot_steer_the_terminal() -> None:
    assert LineSplitter().feed(b"\x1b]0;owned\x07\x1b[2Jhello\n") == ["�]0;owned��[2Jhello"]


def test_ports_are_free_distinct_and_outside_the_ephemeral_range() -> None:
    with contextlib.closing(Ports()) as first, contextlib.closing(Ports()) as second:
        taken = [source.take() for _ in range(50) for source in (first, second)]
    assert len(set(taken)) == 100
    assert all(ports.FIRST <= port < ports.LAST for port in taken)


def test_a_port_in_use_is_not_free_and_its_holder_is_known() -> None:
    with socket.socket() as server, contextlib.closing(Ports()) as free:
        port = free.take()
        assert ports.is_free("127.0.0.1", port)
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not ports.is_free("127.0.0.1", port)
        holder = ports.holder(port)
    if sys.platform == "linux":
        assert holder is not None
        assert holder.endswith(f"(pid {os.getpid()})")


def test_a_port_that_one_mesh_has_chosen_is_refused_to_another_before_either_listens() -> None:
    with contextlib.closing(Ports()) as tests, contextlib.closing(Ports()) as other:
        port = tests.take()
        with contextlib.closing(Ports()) as mesh:
            assert mesh.choose("127.0.0.1", port), "who took it may hand it on"
            if sys.platform == "linux":
                assert not other.choose("127.0.0.1", port)
                assert not other.choose("0.0.0.0", port)
                assert not mesh.choose("127.0.0.1", port), "nor may one mesh use it twice"
                holder = ports.holder(port)
                assert holder is not None
                assert holder.endswith(f"(pid {os.getpid()})")
        assert other.choose("127.0.0.1", port), "a mesh that ended has let go of it"


def test_an_address_that_is_not_of_this_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        ports.is_free("203.0.113.7", 8080)


def process(name: str, *needs: str) -> ProcessSpec:
    return ProcessSpec(name=name, command=("true",), probe=RunningProbe(), needs=needs)


def test_specs_with_unknown_or_circular_needs_are_refused() -> None:
    check((process("a", "b"), process("b")))
    with pytest.raises(ValueError, match="'a' needs 'x', which is no process"):
        check((process("a", "x"),))
    with pytest.raises(ValueError, match="in a circle: a, b"):
        check((process("a", "b"), process("b", "a"), process("c")))
    with pytest.raises(ValueError, match="used twice"):
        check((process("a"), process("a")))
