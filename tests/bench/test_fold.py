"""The benchmark of folding: its contestants count the same, and its JSON says what the issue names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench._row_loop import RowTally
from bench._votes import crowd
from bench.fold import fold, row_loop
from toolbox.local.errors import MeshError


def test_the_fold_and_the_row_loop_count_the_same_votes() -> None:
    votes = crowd(3, 200)
    assert votes.voters < votes.rows == 600, "some are resent"
    assert fold(votes) > 0
    assert row_loop(votes) > 0


def test_a_contestant_that_miscounts_is_found_out() -> None:
    votes = crowd(2, 100)
    with pytest.raises(MeshError, match="row loop counted 198 voters of 199"):
        row_loop(votes._replace(voters=199))


def test_the_row_loop_leaves_replays_out() -> None:
    votes = crowd(1, 100)
    tally = RowTally()
    for batch in votes.batches * 2:
        tally.fold(batch)
    assert sum(tally.votes.values()) == tally.voters == votes.voters


def test_a_short_run_prints_the_named_keys() -> None:
    command = [sys.executable, "-m", "bench.fold", "--json", "--without-bytewax"]
    command += ["--blocks", "2", "--rounds", "1", "--games", "20", "--seconds", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events_per_cpu_s"] > 0
    assert found["vs_row_loop"] > 0
    assert found["vs_bytewax"] is None
    assert found["flushed_events_per_s"] > 0
    assert found["games"] == 20
    assert (found["games_events_per_tick"], found["busy_games_events_per_tick"]) == (20, 100)
    assert "Bytewax is left out" in done.stderr
