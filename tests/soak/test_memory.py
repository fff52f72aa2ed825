"""Under a steady load no process grows: a quarter of an hour, and its second half is flat.

Each vote of the load is by an actor of its own, and a vote is state until its poll is forgotten: so those
that hold the state may grow by STATE_BYTES_PER_VOTE.

Slow: `./grandstand test --slow tests/soak` runs it. SOAK_SECONDS in the environment shortens it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.mesh_fixture import RunningMesh, running
from toolbox.local.provision import checkout

SECONDS = float(os.environ.get("SOAK_SECONDS", 900))
LOOK_S = 5.0
VOTES_PER_S = 200
GROWTH_MB_PER_MINUTE_MAX = 0.5
"""Ingest grew by 3.6 when it remembered the last 200,000 votes however old."""

STATE_BYTES_PER_VOTE = 140
"""Measured: 66 in aggregate, 55 in Valkey. Aggregate's tables double (aggregate.keyindex), once between any
number of votes and twice as many: the second half of a run may show up to twice as much."""


def rss_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(mesh: RunningMesh, load: subprocess.Popen[bytes]) -> dict[str, list[tuple[float, float]]]:
    """By process, minutes and MB, until the load ends."""
    pids = {each.name: each.pid for each in mesh.status().services if each.pid is not None}
    began_s = time.monotonic()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}
    while load.poll() is None:
        for name, pid in pids.items():
            found[name].append(((time.monotonic() - began_s) / 60, rss_mb(pid)))
        time.sleep(LOOK_S)
    assert load.returncode == 0
    assert pids == {each.name: each.pid for each in mesh.status().services if each.pid is not None}
    return found


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_no_process_grows_under_a_steady_load(tmp_path: Path) -> None:
    with running(tmp_path / "home") as mesh:
        command = [sys.executable, "-m", "toolbox.cli", "simulate", "--home", str(mesh.home)]
        command += ["--viewers", "200", "--rate", str(VOTES_PER_S), "--seconds", str(SECONDS)]
        with subprocess.Popen(command, cwd=checkout(), stdin=subprocess.DEVNULL) as load:
            found = watched(mesh, load)
    growing = {}
    for name, samples in found.items():
        minutes, mb = np.array(samples[len(samples) // 2 :]).T
        slope = float(np.polyfit(minutes, mb, 1)[0])
        print(f"{name}: {samples[0][1]:.0f} MB, {mb[0]:.0f}, {mb[-1]:.0f}; {slope:+.2f} MB a minute now")
        state_bytes = STATE_BYTES_PER_VOTE if name.startswith(("aggregate", "valkey")) else 0
        if slope > GROWTH_MB_PER_MINUTE_MAX + 60 * VOTES_PER_S * state_bytes / 1e6:
            growing[name] = slope
    assert not growing
