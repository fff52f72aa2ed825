"""bench NAME: the latency benchmark's figures, its help, and what an unknown name gets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import command, failed, succeeded
from tests.support.mesh_fixture import RunningMesh


def test_latency_measures_the_running_mesh_and_prints_its_figures(mesh: RunningMesh) -> None:
    short = ("--viewers", "5", "--rate", "40", "--seconds", "2", "--idle-seconds", "1")
    done = command(mesh.home, "bench", "latency", *short, "--json")
    assert done.returncode == 0, done.stderr.decode()
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["viewers"], figures["rate"], figures["temporary_mesh"]) == (5, 40.0, False)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert 0 < figures["floor_p50_ms"] < figures["idle_p50_ms"] <= figures["idle_p99_ms"]
    assert figures["sent"] == figures["acked"] == figures["counted"] > 80
    assert figures["cpu_us_per_vote"] > 0
    assert figures["cpu_us_per_update"] > 0
    assert {"ingest-1", "gateway-2", "envoy", "nats"} <= figures["cpu_s"].keys()


def test_help_and_names(tmp_path: Path) -> None:
    assert "bench latency --viewers 200" in succeeded(tmp_path, "bench", "latency", "--help")
    assert "bench latency" in succeeded(tmp_path, "bench")
    said = failed(tmp_path, "bench", "speed")
    known = "abuse, fanout, fold, games, ingest, latency, notify, send, storm"
    assert f"there is no benchmark 'speed'; there are {known}" in said
