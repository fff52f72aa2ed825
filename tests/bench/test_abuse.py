"""`bench abuse`: it attacks, it sees what the witness sees, and it says when an attack was not borne."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import _attacker, abuse
from bench._abuse_figures import AbuseFigures, Row
from bench._attack_kinds import STARTS_MAX
from bench._attack_plans import PLANS
from bench._mesh import BenchMesh
from tests.support.mesh_fixture import RunningMesh

WELL = {"errors": 0, "why": {}, "p50_ms": 20.0, "p99_ms": 50.0, "join_p99_ms": 5.0}
ATTACK = {"achieved": {"rate_per_s": 10.0}, "cpu_cores": 0.1, "outcomes": {}, "landed": 0}


def test_attacks_reach_a_mesh_and_its_witness_sees_every_vote(
    mesh: RunningMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "WARM_UP_S", 0.1)
    monkeypatch.setattr(abuse, "SETTLE_S", 0.1)
    attacks = ("silent-subscribes", "scores")
    only = [part for name in attacks for part in ("--only", name)]
    asked = abuse.parse(["--seconds", "1.5", "--viewers", "10", "--voters", "4", *only])
    found = abuse.AbuseBench(BenchMesh(mesh.home, is_temporary=False), tmp_path, asked).run().as_json()
    assert json.loads(json.dumps(found)) == found
    assert found["calm"]["witness_errors"] == 0
    assert found["calm"]["witness_samples"] > 10
    assert set(found["attacks"]) == set(attacks)
    for row in found["attacks"].values():
        assert row["witness_errors"] == 0, row["witness_why"]
        assert row["witness_p99_ms"] > 0
        assert row["attack_achieved"]["rate_per_s"] > 0
        assert row["landed"] == 0
    silent, scores = (found["attacks"][name] for name in attacks)
    assert silent["attack_outcomes"]["reset 7"] > 0, "beyond its 100 streams a connection gets no more"
    assert scores["attack_outcomes"]["refused 7"] > 0
    assert scores["attack_outcomes"]["stored"] == 0


class Endless:
    """An attack that takes `cost_s` of CPU for each turn."""

    def __init__(self, cost_s: float) -> None:
        self.outcomes: Counter[str] = Counter({"0": 3})
        self.landed = self.held = 0
        self._cost_s = cost_s

    def start(self, due: int) -> int:
        until_s = time.process_time() + self._cost_s
        while time.process_time() < until_s:
            pass
        return due

    def turn(self, wait_s: float) -> None:
        time.sleep(wait_s)


def test_an_attacker_takes_no_more_than_half_a_core_and_says_what_it_reached() -> None:
    plan = PLANS["rapid-resets"]
    greedy = _attacker.attack(plan, Endless(0.01), 0.6)
    assert greedy["cpu_cores"] <= _attacker.SHARE_MAX + 0.2
    frugal = _attacker.attack(plan, Endless(0.0), 0.6)
    assert 0 < frugal["achieved"]["rate_per_s"] <= 1.01 * plan.rate_per_s
    assert frugal["outcomes"] == {"0": 3}


def test_a_burst_is_due_at_once_and_a_turn_starts_no_more_than_it_may() -> None:
    class Counting(Endless):
        most = 0

        def start(self, due: int) -> int:
            self.most = max(self.most, due)
            return due

    made = Counting(0.0)
    found = _attacker.attack(PLANS["silent-connections"], made, 0.5)
    assert found["achieved"]["started"] >= PLANS["silent-connections"].burst
    assert made.most == STARTS_MAX


@pytest.mark.parametrize(
    ("witness", "attack", "growth", "complaint"),
    [
        (
            {"errors": 2, "why": {"a viewer: reset": 2}},
            {},
            {},
            "2 errors of the witness, such as: a viewer: r",
        ),
        ({"p99_ms": 75.1}, {}, {}, "p99 is 75.1 ms; at most 75 is allowed"),
        ({}, {"landed": 3}, {}, "3 times what was to be refused was done"),
        ({}, {}, {"gateway-1": 200.0}, "gateway-1 grew by 200 MiB; at most 128 is allowed"),
    ],
)
def test_an_attack_that_was_not_borne_is_told(
    witness: dict[str, Any], attack: dict[str, Any], growth: dict[str, float], complaint: str
) -> None:
    figures = AbuseFigures(300, 50, 20.0, 2, calm=dict(WELL))
    figures.rows["well"] = Row(1, "none", {}, ATTACK, dict(WELL), {"envoy": 200.0}, {})
    assert figures.as_json()["ok"]
    figures.rows["not"] = Row(1, "some", {}, ATTACK | attack, WELL | witness, growth, {})
    found = figures.as_json()
    assert not found["ok"]
    assert not found["attacks"]["not"]["ok"]
    (told,) = figures.complaints()
    assert told.startswith("not: ")
    assert complaint in told


def test_an_attack_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        abuse.parse(["--only", "kindness"])
    assert ended.value.code == 2
    assert "there is no such attack; there are silent-subscribes, " in capsys.readouterr().err
