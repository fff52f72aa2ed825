"""doctor, of stores and a machine: it ends whatever hangs, and names what is set wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.certificates import Certificates
from tests.support.mesh_fixture import wait_for
from tests.support.servers import Process, listens, stores
from toolbox.doctor import machine_facts
from toolbox.doctor.examine import WITHIN_S, examine
from toolbox.local import provision
from toolbox.local.home import Home
from toolbox.local.ports import Ports

BOUND_S = WITHIN_S + 3.0


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT of a server that takes connections and says nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def doctor(home: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "toolbox.cli", "doctor", "--home", home, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_dependency_that_hangs_is_told_in_bounded_time(tmp_path: Path, silent: str) -> None:
    began_s = time.monotonic()
    facts = examine(Home(tmp_path), f"tls://{silent}", f"rediss://{silent}")
    assert time.monotonic() - began_s < BOUND_S
    assert facts.nats is not None
    assert facts.redis is not None
    assert "nothing that speaks NATS answered" in facts.nats.problem
    assert "nothing that speaks Redis answered" in facts.redis.problem
    assert [each.problem for each in facts.certificates] == ["no handshake within 3 s"] * 2
    assert facts.problems == {}


def test_somebody_elses_stores_are_looked_at_and_no_password_is_shown(tmp_path: Path) -> None:
    with stores(tmp_path) as started:
        with redis.Redis.from_url(started.redis_url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        url = started.redis_url.replace("://", "://:secret@")
        code, found = doctor(tmp_path / "home", "--nats", started.nats_url, "--redis", url)
    assert code == 3
    (evicts,) = found["findings"]
    assert (evicts["id"], evicts["subject"], evicts["severity"]) == ("redis-settings", "Redis", "warning")
    assert "evicts keys" in evicts["reason"]
    assert "secret" not in json.dumps(found)
    facts = found["facts"]
    assert facts["nats"]["problem"] == ""
    assert facts["nats"]["round_trip_s"] < 5
    assert facts["nats"]["max_payload_bytes"] == 1024**2
    assert facts["mesh"] is None
    assert {each["name"] for each in facts["machine"]["programs"]} == {"envoy"}, "up would start no store"


def test_certificates_are_seen_as_clients_see_them_whoever_signed_them(tmp_path: Path) -> None:
    made = Certificates.made(tmp_path, "localhost")
    with contextlib.closing(Ports()) as ports:
        port = ports.take()
        command = [
            provision.nats_server(),
            "-p",
            str(port),
            "--tls",
            "--tlscert",
            made.chain,
            "--tlskey",
            made.key,
        ]
        nats = Process("nats", command, tmp_path)
        nats.start()
        try:
            wait_for(lambda: listens(port), "NATS listens")
            facts = examine(Home(tmp_path / "home"), f"tls://localhost:{port}", None)
        finally:
            nats.end()
    (certificate,) = facts.certificates
    assert certificate.days_left is not None
    assert 0 < certificate.days_left < 1.1
    assert facts.nats is not None
    assert "its certificate is not trusted" in facts.nats.problem


def test_what_cannot_be_run_and_what_is_taken_are_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_SERVER", str(tmp_path / "none"))
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(machine_facts, "EDGE_PORT", port)
        facts = machine_facts.machine_facts(Home(tmp_path / "a" / "b"), own_nats=True, own_redis=True)
    problems = {each.name: each.problem for each in facts.programs}
    assert "is no program that can be run" in problems["nats-server"]
    assert problems["valkey"] == problems["envoy"] == ""
    (taken,) = facts.ports_taken
    assert taken.port == port
    assert "pytest" in taken.holder or "python" in taken.holder
    assert facts.disk is not None
    assert facts.disk.path == str(tmp_path)
    assert facts.disk.size_bytes > facts.disk.free_bytes > 0
