"""Ten faults on one mesh, watched by a real Prometheus: each has its alert, and `doctor` names each (I11).

One mesh and one Prometheus for all; the nine that do not hide each other are made at once. The rules are the
real ones with their windows shortened (tests.support.prometheus): what they say at length, promtool tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.certificates import Authority
from tests.support.mesh_fixture import RunningMesh, running, wait_for
from tests.support.prometheus import RULES, PrometheusApi, dashboard_queries, shortened
from toolbox.chaos import tmpfs
from toolbox.chaos.ways import Ways, open_ways
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.prometheus import config_of

FIRES_WITHIN_S = 30.0
SERVICES = ("ingest-1", "aggregate-1", "gateway-1", "gateway-2", "notify-1")
DISK_BYTES = 64 * 1024 * 1024
LOG_BYTES = 2 * 1024 * 1024
JUNK_BYTES = 48 * 1024
BURN = ("FreshnessBurn", "AcksBurn")
"""With windows of seconds a single late vote burns the budget of a month."""


@dataclass(frozen=True, slots=True)
class WatchedMesh:
    mesh: RunningMesh
    prometheus: PrometheusApi
    ways: Ways
    authority: Authority
    disk: Path
    """NATS's, from outside."""

    def firing(self) -> set[tuple[str, ...]]:
        return {each for each in self.prometheus.firing() if not each[0].startswith(BURN)}

    def until_firing(self, *expected: tuple[str, ...]) -> None:
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.firing().issuperset(expected), "they fire", FIRES_WITHIN_S)
        assert self.firing() & set(expected) == set(expected)

    def until_quiet(self) -> None:
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.firing(), "no alert fires")
        assert self.firing() == set()

    def doctor(self) -> set[tuple[str, str]]:
        """What it finds: the name, and what it is about."""
        return {(each["id"], each["subject"]) for each in self.doctor_says()["findings"]}

    def doctor_says(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "toolbox.cli", "doctor", "--home", self.mesh.home, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["ok"] else 3), done.stderr
        return found

    def shift_clock(self, name: str, seconds: float) -> None:
        at = self.mesh.home / "clocks" / name
        beside = at.with_name(f".{name}")
        beside.write_text(str(seconds))
        beside.replace(at)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedMesh]:
    folder = tmp_path_factory.mktemp("alerts")
    home = folder / "home"
    Home(home).create()
    clocks = home / "clocks"
    clocks.mkdir()
    for name in SERVICES:
        (clocks / name).write_text("0")
    authority = Authority(folder / "certificates")
    made = authority.issue("localhost", days=90)
    with contextlib.closing(Ports()) as ports, open_ways(home, SERVICES, ports) as ways:
        arguments = (
            *(
                "--metrics",
                "--demo",
                "--canary",
                "--gateway",
                "2",
                "--clocks",
                str(clocks),
                *ways.arguments(),
            ),
            *("--events-bytes", str(LOG_BYTES)),
            *("--edge-tls-cert", str(made.chain), "--edge-tls-key", str(made.key)),
        )
        disks = [home / "nats"]
        with running(home, *arguments, within=lambda up: tmpfs.command(DISK_BYTES, disks, up)) as mesh:
            url = mesh.status().addresses.prometheus
            assert url is not None
            hasten(mesh, folder / "rules.yml")
            disk = Path(f"/proc/{mesh.process.pid}/root{home}/nats")
            yield WatchedMesh(mesh, PrometheusApi(url), ways, authority, disk)


def hasten(mesh: RunningMesh, rules: Path) -> None:
    """Prometheus scrapes every second from now on, by the shortened rules."""
    config = config_of(Home(mesh.home))
    found = json.loads(config.read_text())
    assert found["rule_files"] == [str(RULES)]
    rules.write_text(shortened())
    found["rule_files"] = [str(rules)]
    found["global"] = dict.fromkeys(found["global"], "1s")
    config.write_text(json.dumps(found))
    mesh.send_signal("prometheus", signal.SIGHUP)


def test_everything_is_scraped_every_query_has_data_and_nothing_is_wrong(watched: WatchedMesh) -> None:
    expected = {*SERVICES, "canary", "envoy"}
    wait_for(lambda: watched.prometheus.targets() == dict.fromkeys(expected, "up"), "everything is scraped")

    def without_data() -> list[str]:
        return [expr for expr in dashboard_queries() if not watched.prometheus.query(expr)]

    assert len(dashboard_queries()) > 100
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not without_data(), "every query has data", 20.0)
    assert without_data() == []
    watched.until_quiet()
    assert watched.doctor_says()["findings"] == []
    assert watched.firing() == set()


def test_nine_faults_at_once_each_have_their_alert_and_doctor_names_each(watched: WatchedMesh) -> None:
    calmer, stop = threading.Event(), threading.Event()
    with contextlib.ExitStack() as heal:
        heal.callback(watched.until_quiet)
        heal.callback(watched.authority.issue, "localhost", days=90)
        watched.authority.issue("localhost", days=3)
        heal.callback(watched.ways.slow, "valkey", 0.0)
        watched.ways.slow("valkey", 0.4)
        heal.callback(watched.shift_clock, "ingest-1", 0.0)
        watched.shift_clock("ingest-1", 1.5)
        heal.callback(watched.mesh.send_signal, "gateway-1", signal.SIGCONT)
        watched.mesh.send_signal("gateway-1", signal.SIGSTOP)
        pulses = threading.Thread(target=keep_late, args=(watched.mesh, "gateway-2", calmer, stop))
        pulses.start()
        heal.callback(pulses.join)
        heal.callback(stop.set)
        # What fills the log is set aside, each by a round trip of its own: so the worker lags.
        heal.callback(watched.ways.slow, "aggregate-1 nats", 0.0)
        watched.ways.slow("aggregate-1 nats", 0.4)
        asyncio.run(fill_the_log(watched.mesh))
        heal.callback((watched.disk / "filler").unlink)
        nearly_full(watched.disk / "filler")
        watched.until_firing(
            ("DependencySlow", "aggregate-1", "Redis"),
            ("CertificateExpiring", "envoy"),
            ("ClockOff", "ingest-1"),
            ("DiskFilling", "ingest-1"),
            ("Overloaded", "gateway-2"),
            ("ProcessSilent", "gateway-1"),
            ("FoldingLags", "aggregate-1"),
            ("EventLogNearlyFull",),
            ("DeadLetters", "aggregate-1"),
        )
        calmer.set()
        expected = {
            ("dependency-slow", "Redis"),
            ("certificate-expiring", "the edge"),
            ("clock-off", "ingest-1"),
            ("disk-filling", "the disk of NATS"),
            ("overloaded", "gateway-2"),
            ("process-silent", "gateway-1"),
            ("folding-lags", "aggregate-1"),
            ("event-log-nearly-full", "EVENTS"),
            ("dead-letters", "DEAD_LETTERS"),
        }
        assert watched.doctor() & expected == expected


def nearly_full(filler: Path) -> None:
    """Never the machine's own disk."""
    assert os.path.ismount(filler.parent), "the disk of NATS is not its own"
    room = os.statvfs(filler.parent)
    filler.write_bytes(bytes(room.f_bfree * room.f_frsize - DISK_BYTES // 20))


def keep_late(mesh: RunningMesh, name: str, calmer: threading.Event, stop: threading.Event) -> None:
    """Its timers are late by more than overload allows, and it answers all the same. Once it is `calmer` the
    level stays."""
    while not stop.wait(0.1):
        mesh.send_signal(name, signal.SIGSTOP)
        stop.wait(0.2 if calmer.is_set() else 0.4)
        mesh.send_signal(name, signal.SIGCONT)


async def fill_the_log(mesh: RunningMesh) -> None:
    """With what is no block."""
    bus = await Bus.connect(mesh.stores().nats, "a test")
    try:
        while (info := await bus.js.stream_info(subjects.EVENTS_STREAM)).state.bytes < 0.88 * LOG_BYTES:
            await bus.js.publish(subjects.events(1), os.urandom(JUNK_BYTES))
            assert info.config.max_bytes == LOG_BYTES
    finally:
        await bus.close()


def test_nats_that_answers_nothing(watched: WatchedMesh) -> None:
    with contextlib.ExitStack() as heal:
        heal.callback(watched.until_quiet)
        heal.callback(watched.mesh.send_signal, "nats", signal.SIGCONT)
        watched.mesh.send_signal("nats", signal.SIGSTOP)
        watched.until_firing(
            ("DependencyFails", "ingest-1", "event log"), ("DependencyFails", "aggregate-1", "NATS")
        )
        found = watched.doctor()
        assert {("dependency-fails", "NATS"), ("dependency-fails", "ingest-1: event log")} <= found
