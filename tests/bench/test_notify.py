"""bench notify: its figures, on the running mesh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.notify import parse
from tests.support.commands import command, succeeded
from tests.support.mesh_fixture import RunningMesh


def test_notify_measures_the_running_mesh_and_prints_its_figures(mesh: RunningMesh) -> None:
    short = ("--actors", "40", "--rate", "20", "--seconds", "1", "--callers", "4")
    done = command(mesh.home, "bench", "notify", *short, "--json")
    assert done.returncode == 0, done.stderr.decode()
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["actors"], figures["temporary_mesh"], figures["ok"]) == (40, False, True)
    assert (figures["undelivered"], figures["doubled"]) == (0, 0)
    assert 0 < figures["delivered_p50_ms"] <= figures["delivered_p99_ms"]
    assert figures["broadcast_messages_per_gateway"] == 1
    assert figures["rows_messages_per_gateway"] == 40
    assert figures["broadcast_stored_bytes_per_actor"] == 0 < figures["rows_stored_bytes_per_actor"]
    assert min(figures[key] for key in ("accepted_per_cpu_s", "listed_per_cpu_s", "rules_us_per_result")) > 0


def test_help_and_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "bench notify --actors 2000" in succeeded(tmp_path, "bench", "notify", "--help")
    with pytest.raises(SystemExit):
        parse(["--actors", "0"])
    assert "--actors 0: at least 1 is needed" in capsys.readouterr().err
