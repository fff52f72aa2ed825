"""canary and incidents as a user reads them; tests/toolbox/cli/test_run.py has them on a real mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from grandstand.catalog.v1 import catalog_pb2 as catalog
from mesh.canary import hidden_game
from mesh.canary.incidents import Incident, IncidentEnd, IncidentKind
from mesh.canary.measured_here import Measured
from mesh.canary.votes import JudgedVote, VoteOutcome
from toolbox.cli.canary import _measure, _print_incidents
from toolbox.local.canary import has_canary
from toolbox.local.canary_page import line
from toolbox.local.errors import MeshError

INCIDENT = Incident(
    incident_id="1",
    started_at_s=1_800_000_000.0,
    kind=IncidentKind.ACKS,
    reason="votes are not stored: ingest-1: NATS: did not answer for 3 s",
    detected_after_s=2.1,
    without_acks_s=7.25,
    without_frames_s=7.5,
    end=IncidentEnd.RECOVERED,
    recovered_after_s=7.5,
)
WELL = {
    "measuring": True,
    "problem": "",
    "votes": 300,
    "freshness_p50_ms": 9.0,
    "freshness_p99_ms": 41.5,
    "alerts": [],
    "open_incident": None,
}


@pytest.mark.parametrize(
    ("change", "said", "is_well"),
    [
        ({}, "within 9 ms (p50), 41.5 ms (p99) of the last 300 votes; no incident", True),
        ({"votes": 0}, "no vote is measured yet", True),
        (
            {"measuring": False, "problem": "its token expired"},
            "nothing is measured: its token expired",
            False,
        ),
        (
            {"alerts": [{"objective": "acks", "rate": 14.4, "long": "1h", "short": "5m"}]},
            "the error budget of acks burns 14.4 times too fast (over 1h and 5m)",
            False,
        ),
        (
            {"open_incident": INCIDENT.as_json()},
            "7.25 s without acks, 7.5 s without frames: votes are not",
            False,
        ),
    ],
)
def test_status_says_it_in_a_line(change: dict[str, Any], said: str, is_well: bool) -> None:
    found, well = line({**WELL, **change})
    assert said in found
    assert found.startswith("canary: ")
    assert well is is_well


def test_incidents_are_listed_with_their_seconds_and_the_means(capsys: pytest.CaptureFixture[str]) -> None:
    lost = replace(INCIDENT, end=IncidentEnd.UNOBSERVED, recovered_after_s=None)
    found = {
        "incidents": [INCIDENT.as_json(), lost.as_json()],
        "mean_time_to_detect_s": 2.1,
        "mean_time_to_recover_s": 7.5,
        "incidents_unsaved": 1,
    }
    _print_incidents(found)
    said = capsys.readouterr().out
    assert "mean time to detect 2.1 s, to recover 7.5 s" in said
    assert "1 of them wait for NATS" in said
    assert said.count("7.2 s") == 2
    assert said.count("unobserved") == 1
    _print_incidents({**found, "incidents": []})
    assert "No incident" in capsys.readouterr().out


def test_an_edge_that_is_not_there_is_named() -> None:
    with pytest.raises(MeshError, match=r"cannot reach the edge at 127\.0\.0\.1:9: "):
        asyncio.run(_measure("127.0.0.1:9", None, 1, "token", None, show=False))


def test_an_objective_is_met_or_missed_by_what_was_measured() -> None:
    measured = Measured()
    assert not measured.is_met, "nothing was measured"
    good = [JudgedVote(VoteOutcome.ACKED), JudgedVote(None, 0.02)]
    measured.measurements.count(good, 1.0)
    measured.freshness_s.append(0.02)
    assert measured.is_met
    assert measured.text().startswith("1 votes acked, on screens within 20 ms (p50), 20 ms (p99)\n")
    measured.measurements.count([JudgedVote(VoteOutcome.ACKED), JudgedVote(None, 0.31)], 2.0)
    assert measured.as_json()["objectives"]["freshness"] == {"target": 0.999, "share": 0.5, "met": False}
    assert not measured.is_met
    assert "freshness: missed: 50.00% of acked votes are shown within 300 ms" in measured.text()


@pytest.mark.parametrize(
    ("poll", "is_taken"),
    [
        ({"stage": catalog.STAGE_OPEN, "changeable": True, "poll_id": "freshness-7"}, True),
        ({"stage": catalog.STAGE_CLOSED, "changeable": True, "poll_id": "freshness-7"}, False),
        ({"stage": catalog.STAGE_OPEN, "changeable": False, "poll_id": "freshness"}, False),
        ({"stage": catalog.STAGE_OPEN, "changeable": True, "poll_id": "mvp"}, False),
    ],
)
def test_only_a_poll_that_is_meant_for_it_is_voted_in(poll: dict[str, Any], is_taken: bool) -> None:
    found = catalog.GetGameResponse(polls=[catalog.Poll(**poll)])
    assert (hidden_game.open_poll(found) is not None) is is_taken


def test_with_a_platforms_keys_there_is_a_canary_if_the_platform_gives_it_a_token(tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.touch()
    assert has_canary(None, None, None)
    assert not has_canary(False, None, None)
    assert not has_canary(None, None, "jwks.json")
    assert has_canary(None, token, "jwks.json")
    for asked, given, keys in ((True, None, "jwks.json"), (None, token, None), (None, tmp_path / "no", "k")):
        with pytest.raises(MeshError, match="--canary"):
            has_canary(asked, given, keys)
