"""`bench storm`: who is cut off comes back to the newest state, and takes nobody else's stream along."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench import storm
from bench.storm import Storm, _unsound

VIEWERS = 1_500
"""More than Envoy's own guard against floods lets leave at once by default."""


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.storm", "--viewers", str(VIEWERS), "--bystanders", "50"]
    command += ["--seconds", "6", "--rate", "4", "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_all_are_back_and_only_those_were_cut_off_that_should_be(
    run: subprocess.CompletedProcess[str],
) -> None:
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert (found["viewers"], found["viewers_lost"], found["ended"]) == (VIEWERS, VIEWERS, "")
    assert 0 < found["killed"]["viewers_lost"] < VIEWERS
    for each in (found, found["killed"]):
        assert 0 < each["recovered_s"] < 60
        assert each["max_frame_gap_ms"] > 100
        assert each["back_gap_ms"] > 0


def test_redis_is_read_for_the_game_and_not_for_its_viewers(run: subprocess.CompletedProcess[str]) -> None:
    found = json.loads(run.stdout.splitlines()[-1])
    for each, gateways in ((found, 1), (found["killed"], 2)):
        # Each gateway reads once a second anyway.
        assert each["redis_reads"] <= gateways * (2 * each["recovered_s"] + 4)


WHOLE = {"watching": 10, "backwards": 0, "behind": 0, "returns": 4}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"watching": 9}, "1 of 10 viewers did not come back"),
        ({"backwards": 2}, "2 times a viewer was shown an older state"),
        ({"behind": 3}, "3 viewers were not shown the newest state"),
        ({"returns": 3}, "4 viewers lost their streams, and 3 came back"),
    ],
)
def test_a_viewer_that_stays_away_or_goes_back_makes_a_run_unsound(
    changed: dict[str, int], complaint: str
) -> None:
    assert _unsound(WHOLE, 10, 4) == ""
    assert complaint in _unsound(WHOLE | changed, 10, 4)


def test_a_storm_that_cut_nobody_is_none() -> None:
    assert "0 viewers lost their streams" in _unsound(WHOLE | {"returns": 0}, 10, 0)


def test_an_unsound_run_ends_non_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = Storm(10, 0.5, 1, 120.0, 110.0, 0, "", "")
    monkeypatch.setattr(storm, "measure", lambda _: (fine, fine._replace(unsound="3 viewers stayed away")))
    with pytest.raises(SystemExit) as ended:
        storm.main(["--json"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["ok"] is False
    assert "3 viewers stayed away" in said.err


def test_what_cannot_be_measured_is_refused() -> None:
    command = [sys.executable, "-m", "bench.storm", "--viewers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--viewers 1: at least 2 is needed" in done.stderr
