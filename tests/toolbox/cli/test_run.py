"""up, down and status as a user types them: what they print, how they end, and that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mesh.canary.incidents import STALLED_S
from mesh.metrics import declarations as d
from tests.support.commands import command, failed, succeeded
from tests.support.incidents import MeasuredMesh
from tests.support.mesh_fixture import wait_for
from tests.support.supervision import is_alive
from toolbox.cli.app import build
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a höme with spaces"
    yield home
    command(home, "down")


@pytest.fixture
def up() -> Iterator[tuple[str, ...]]:
    """`up` on free ports, without demo and canary."""
    with contextlib.closing(Ports()) as ports:
        yield (
            "up",
            "--no-demo",
            "--port",
            str(ports.take()),
            "--mesh-port",
            str(ports.take()),
            "--no-canary",
        )


def status_of(home: Path) -> dict[str, object]:
    found = json.loads(succeeded(home, "status", "--json"))
    assert isinstance(found, dict)
    return found


def pids_of(status: dict[str, object]) -> list[int]:
    services = status["services"]
    assert isinstance(services, list)
    return [service["pid"] for service in services]


def test_a_mesh_starts_detached_tells_where_it_is_and_goes_down(home: Path, up: tuple[str, ...]) -> None:
    port = up[3]
    said = succeeded(home, *up, "--canary", "--detach")
    assert f"http://localhost:{port}" in said
    assert "./grandstand down stops it" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.headers["content-type"] == "text/html; charset=utf-8"
    status = status_of(home)
    assert status["state"] == "ready"
    assert status["edge"] == f"http://127.0.0.1:{port}"
    names = [service["name"] for service in status["services"]]  # type: ignore[attr-defined]
    assert names == ["nats", "valkey", "envoy", "ingest-1", "aggregate-1", "gateway-1", "notify-1", "canary"]
    assert status["health"]["ok"] is True  # type: ignore[index]
    measured = MeasuredMesh(home, status)
    measured.wait_measuring()
    said = succeeded(home, "status")
    assert "ingest-1" in said
    assert said.startswith("ready: ")
    assert "canary: a vote is on screens within" in said
    _frozen_is_not_ready(home, status)
    _incidents_are_measured(home, measured)
    supervisor = status["pid"]
    assert f"already running in {home} (pid {supervisor})" in failed(home, *up)
    pids = pids_of(status)
    assert succeeded(home, "down").strip() == "The mesh is down."
    assert not any(map(is_alive, [*pids, supervisor]))  # type: ignore[list-item]
    assert f"no mesh is running in {home}" in failed(home, "status")
    assert f"no mesh is running in {home}" in failed(home, "down")


def _frozen_is_not_ready(home: Path, status: dict[str, object]) -> None:
    """While a process stands still `status` says what /healthz says, and ends with 3."""
    services: list[dict[str, Any]] = status["services"]  # type: ignore[assignment]
    pid = next(service["pid"] for service in services if service["name"] == "aggregate-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: command(home, "status").returncode == 3, "votes are not folded")
        said = command(home, "status").stdout.decode()
        assert said.startswith(("not well, votes are not folded: ", "recovering, "))
        assert "stored: yes" in said
        assert "aggregate-1 was not heard for" in said
        assert "folded up to the last block" not in said
        health = json.loads(command(home, "status", "--json").stdout)["health"]
        assert (health["ok"], health["stored"]["ok"], health["folded"]["ok"]) == (False, True, False)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{status['edge']}/healthz", timeout=10)
        assert caught.value.code == 503
    finally:
        # The supervisor may have replaced it by now.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: command(home, "status").returncode == 0, "votes are folded again")


def _incidents_are_measured(home: Path, measured: MeasuredMesh) -> None:
    unfolded = measured.wait_closed()
    assert (unfolded["kind"], unfolded["without_acks_s"]) == ("frames", 0)
    assert "votes are not folded: aggregate-1" in unfolded["reason"]
    closed, gateway_s, nats_s = measured.freeze_gateway_and_then_nats()
    assert closed["end"] == "recovered"
    # A vote a second; and what it takes them all to go on, on a busy machine.
    assert gateway_s - 1.5 < closed["without_frames_s"] < gateway_s + 15
    assert nats_s - 1.5 < closed["without_acks_s"] < nats_s + 15
    assert STALLED_S <= closed["detected_after_s"] < closed["recovered_after_s"]
    assert closed["recovered_after_s"] == pytest.approx(closed["without_frames_s"], abs=5)
    # The first one, this one, and none that is not known of here.
    assert measured.metric("grandstand_incidents_total") >= 2
    assert measured.metric("grandstand_incident_open") == 0
    assert measured.metric("grandstand_canary_freshness_seconds_count") > 0
    assert {each.name for each in d.TABLE} <= measured.families()
    # A canary that stands still has measured nothing meanwhile.
    with measured.frozen(["canary"]):
        assert "the canary does not answer" in failed(home, "incidents")
    wait_for(lambda: "this process did not run for" in (home / "logs" / "canary.log").read_text(), "it knows")
    # A canary that is killed and comes back finds them, and has measured nothing of its own absence.
    incidents = measured.said()["incidents"]
    os.kill(measured.service("canary")["pid"], signal.SIGKILL)
    wait_for(lambda: measured.said()["incidents"] == incidents, "the incidents are kept")
    measured.wait_measuring()
    found = json.loads(succeeded(home, "incidents", "--json"))
    assert found["incidents"] == incidents
    assert found["mean_time_to_recover_s"] == pytest.approx(
        sum(each["recovered_after_s"] for each in incidents) / len(incidents), abs=0.01
    )
    done = command(home, "canary", "--seconds", "2", "--json")
    here = json.loads(done.stdout)
    assert here["outcomes"]["acked"] >= 1
    assert here["freshness_p99_ms"] > 0
    assert done.returncode == (0 if here["met"] else 3)


def test_after_a_killed_supervisor_the_next_up_says_so_once_and_reuses_what_is_there(
    home: Path, up: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start is quick because it only starts processes, each once: nothing is fetched, installed or
    replaced."""

    def made() -> list[tuple[str, int, int]]:
        keys = (home / "development-key.json", home / "mesh-key.json")
        return [(key.name, key.stat().st_ino, key.stat().st_mtime_ns) for key in keys]

    used, traps = tmp_path / "used", tmp_path / "traps"
    traps.mkdir()
    for name in ("npm", "node", "apt-get", "curl"):
        (traps / name).write_text(f"#!/bin/sh\necho {name} $* >>'{used}'\nexit 1\n")
        (traps / name).chmod(0o755)
    succeeded(home, *up, "--detach")
    before = made()
    status = status_of(home)
    supervisor = status["pid"]
    assert isinstance(supervisor, int)
    os.kill(supervisor, signal.SIGKILL)
    if sys.platform == "linux":
        wait_for(lambda: not any(map(is_alive, pids_of(status))), "all have gone with it")
    stale = f"(pid {supervisor}) ended without cleaning up"
    assert stale in failed(home, "status")
    monkeypatch.setenv("PATH", str(traps), prepend=os.pathsep)
    monkeypatch.setenv("PIP_LOG", str(used))  # python -m pip is not found on PATH; it logs what it does
    done = command(home, *up, "--detach")
    assert done.returncode == 0, done.stderr.decode()
    for said in (done.stderr.decode(), (home / "logs" / "supervisor.log").read_text()):
        assert stale in said
        assert len(said.strip().splitlines()) == 1, "a set-up step says so"
    assert not used.exists(), used.read_text()
    assert made() == before
    services = status_of(home)["services"]
    assert isinstance(services, list)
    assert {service["name"]: service["restarts"] for service in services if service["restarts"]} == {}
    os.kill(int(str(status_of(home)["pid"])), signal.SIGKILL)
    wait_for(lambda: "without cleaning up" in failed(home, "status"), "the lock is free")
    assert "its pid file is cleared" in failed(home, "down")
    assert failed(home, "down").endswith(f"no mesh is running in {home}")


def test_a_taken_port_is_named_with_its_holder(home: Path, up: tuple[str, ...]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(up[3])))
        server.listen()
        for option in ([], ["--detach"]):
            said = failed(home, *up, *option)
            assert f"port {up[3]} on 127.0.0.1 is taken" in said
            if sys.platform == "linux":
                assert f"(pid {os.getpid()})" in said
            assert "--port" in said
    assert f"no mesh is running in {home}" in failed(home, "status")


@pytest.mark.skipif(sys.platform != "linux", reason="ports are claimed on Linux")
def test_of_two_meshes_with_the_same_port_at_the_same_moment_one_is_told_who_has_it(
    home: Path, up: tuple[str, ...]
) -> None:
    """The other has not come as far as listening there."""
    with contextlib.closing(Ports()) as other:
        assert other.choose("127.0.0.1", int(up[3]))
        said = failed(home, *up)
    assert f"port {up[3]} on 127.0.0.1 is taken by " in said
    assert f"(pid {os.getpid()}); give another one with --port" in said


def test_a_taken_default_mesh_port_is_replaced(home: Path, up: tuple[str, ...]) -> None:
    with socket.socket() as server:
        # If somebody else holds it already, all the better.
        with contextlib.suppress(OSError):
            server.bind(("127.0.0.1", 8081))
            server.listen()
        succeeded(home, *up[:4], "--detach")
        assert status_of(home)["mesh"] != "127.0.0.1:8081"


def test_a_missing_program_is_named(home: Path, up: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_SERVER", "/nonexistent/nats-server")
    assert "NATS_SERVER=/nonexistent/nats-server" in failed(home, *up)


def test_a_program_that_does_not_start_is_named_with_what_it_said(
    home: Path, up: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "nats-server"
    fake.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'nats-server: v2.10.26' && exit\necho 'no such luck'\nexit 7\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER", str(fake))
    said = failed(home, *up, "--detach")
    assert "the mesh did not start: nats was never ready in 3 attempts" in said
    assert "exit code 7" in said
    assert "no such luck" in said
    assert f"no mesh is running in {home}" in failed(home, "status")


def test_a_disk_nearly_full_is_named(tmp_path: Path, up: tuple[str, ...]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        said = failed(small / "home", *up)
        assert "MiB are free in" in said
        assert "512 MiB" in said
        with contextlib.suppress(OSError):
            (small / "ballast").write_bytes(bytes(4 * 1024 * 1024))
        said = failed(small / "other", *up)
        assert "MiB are free" in said or "disk full" in said
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "0"), "--port 0 is no port"),
        (("--ingest", "0"), "--ingest 0 is outside 1 to 16"),
        (("--sync", "never"), "--sync 'never' is neither interval nor always"),
        (("--traces", "--otlp", "http://127.0.0.1:4317"), "exclude each other"),
        (("--otlp", "nonsense"), "--otlp 'nonsense' is no URL"),
        (("--host", "203.0.113.7"), "cannot listen on 203.0.113.7"),
        (("--edge-tls-cert", "a.pem"), "--edge-tls-cert and --edge-tls-key go together"),
        (("--behind-proxy", "10.0.0.1/8"), "--behind-proxy '10.0.0.1/8' is no network such as 10.0.0.0/8"),
    ],
)
def test_an_option_out_of_bounds_is_named(home: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in failed(home, "up", *arguments)


def ignore_interrupts() -> None:
    """As a shell's `&` or nohup does before it starts a program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def foreground(home: Path, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolbox.cli", *arguments],
        env={**os.environ, "GRANDSTAND_HOME": str(home)},
        cwd=checkout(),
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("number", "inherited"),
    [(signal.SIGINT, ignore_interrupts), (signal.SIGTERM, None)],
    ids=["SIGINT, ignored before", "SIGTERM"],
)
def test_a_signal_in_the_foreground_drains_and_leaves_nothing(
    home: Path, up: tuple[str, ...], number: signal.Signals, inherited: Callable[[], None] | None
) -> None:
    process = foreground(home, *up, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=inherited)
    assert process.stdout is not None
    with process.stdout as output:
        said = []
        for line in output:
            said.append(line.decode())
            if "Ctrl-C stops it" in said[-1]:
                break
        assert any(line.startswith("ingest-1 is ready after") for line in said)
        pids = pids_of(status_of(home))
        process.send_signal(number)
        rest = output.read().decode()
    assert process.wait() == 0
    assert re.search(r"\"gateway-1\".*drains", rest)
    assert rest.rstrip().endswith("The mesh is down.")
    assert not any(map(is_alive, pids))


def test_ctrl_c_during_a_detached_start_ends_it(
    home: Path, up: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start cannot be done before the signal: its nats-server never answers."""
    silent = tmp_path / "nats-server"
    silent.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'nats-server: v2.10.26' && exit\nexec sleep 600\n"
    )
    silent.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER", str(silent))
    process = foreground(
        home, *up, "--detach", stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore_interrupts
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert f"no mesh is running in {home}" in failed(home, "status")


def test_ctrl_c_reaches_what_a_command_becomes(tmp_path: Path) -> None:
    """`test` becomes pytest, which must not inherit that SIGINT is ignored."""
    endless = tmp_path / "test_endless.py"
    endless.write_text(
        "import signal\n\ndef test_endless():\n    print('begun', flush=True)\n    signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "toolbox.cli", "test", "-s", "-p", "no:cacheprovider", str(endless)],
        env={**{name: value for name, value in os.environ.items() if name != "CI"}, "CHROMIUM": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=ignore_interrupts,
    )
    assert process.stdout is not None
    try:
        with process.stdout as output:
            while b"begun" not in output.readline():
                assert process.poll() is None, "it runs"
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in output.read()
    finally:
        process.kill()
    assert process.wait() == pytest.ExitCode.INTERRUPTED


def test_on_a_terminal_the_start_is_drawn_and_logs_are_coloured(home: Path, up: tuple[str, ...]) -> None:
    master, slave = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI")}
    environment |= {"TERM": "xterm-256color", "GRANDSTAND_HOME": str(home), "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "toolbox.cli", *up],
        env=environment,
        cwd=checkout(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = ""
    with os.fdopen(master, "rb", buffering=0) as terminal:
        while "Ctrl-C stops it" not in shown:
            shown += terminal.read(65_536).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            # A terminal whose last user has gone answers EIO.
            while data := terminal.read(65_536):
                shown += data.decode("utf-8", "replace")
    assert process.wait() == 0
    assert "✓" in shown
    assert re.search("\x1b\\[[0-9;]*mgateway-1 +│", shown)
    assert "Stopping; again to stop without grace." in shown


def commands_of(app: typer.Typer, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every command's name and help."""
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        yield prefix + name, info.callback.__doc__ or ""
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands_of(group.typer_instance, f"{prefix}{group.name} ")


def test_every_command_has_help_with_an_example() -> None:
    found = dict(commands_of(build()))
    assert {"up", "down", "status", "test", "bench", "poll open"} <= set(found)
    for name, text in found.items():
        assert f"Example: ./grandstand {name}" in text, name


def test_help_does_not_wait_for_heavy_imports() -> None:
    program = (
        "import sys; import toolbox.cli.app as app; app.build();"
        "heavy = {'grpc', 'nats', 'redis', 'numpy', 'opentelemetry', 'google.protobuf'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"imported by --help: {done.stderr}"
