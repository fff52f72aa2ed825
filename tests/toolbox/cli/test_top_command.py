"""`top` on a whole mesh, from where its metrics are collected and by its mesh listener; and on what lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from grandstand.operator.v1 import operator_pb2 as pb
from tests.support.commands import failed, succeeded
from tests.support.mesh_fixture import RunningMesh
from toolbox.cli.overview_screen import PROCESSES_SHOWN_MAX, overview_screen
from toolbox.local.overviews import LocalOverviews, families_by_instance

INSTANCES = {"ingest-1", "ingest-2", "gateway-1", "gateway-2", "aggregate-1", "notify-1"}


def drawn(view: pb.Overview, problem: str = "", width: int = 120) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(overview_screen(view, problem))
    return captured.get()


def test_both_ways_show_the_same_mesh(mesh: RunningMesh) -> None:
    local = json.loads(succeeded(mesh.home, "top", "--once", "--json"))
    remote = json.loads(succeeded(mesh.home, "top", "--once", "--json", "--mesh", f"http://{mesh.mesh}"))
    for view in (local, remote):
        known = {each["instance"]: each for each in view["processes"]}
        assert known.keys() >= INSTANCES
        assert known["gateway-1"]["memoryBytes"] > 1e6
        assert {each["name"] for each in view["promises"]} == {"stored", "folded", "shown"}
        assert view["rates"]["stored"] >= 0
        assert view["lagSeconds"] >= 0
    assert local.keys() - {"hottest"} == remote.keys() - {"hottest"}
    shown = succeeded(mesh.home, "top", "--once")
    assert "ingest-2" in shown
    assert "freshness" in shown


def test_who_is_no_operator_and_what_is_no_mesh_is_told_in_one_line(
    mesh: RunningMesh, tmp_path: Path
) -> None:
    remote = ("top", "--once", "--mesh", f"http://{mesh.mesh}")
    assert "has not the role operator" in failed(mesh.home, *remote, "--token", mesh.owner())
    assert "UNAUTHENTICATED" in failed(mesh.home, *remote, "--token", "x.y.z")
    assert "no gateway answers" in failed(mesh.home, "top", "--mesh", "http://127.0.0.1:9")
    assert "is no address of a mesh" in failed(mesh.home, "top", "--mesh", "ftp://x")
    assert "no mesh is running" in failed(tmp_path, "top")
    assert "no mesh is running" in failed(tmp_path, "tap", "demo")
    assert "NOT_FOUND" in failed(mesh.home, "tap", "no-such-game")


SCRAPED = """\
# HELP grandstand_up 1 if the process answered
# TYPE grandstand_up gauge
grandstand_up{service="ingest",instance="ingest-1"} 1
grandstand_up{service="gateway",instance="gateway-1"} 0
# HELP grandstand_ingest_events_stored Events
# TYPE grandstand_ingest_events_stored counter
grandstand_ingest_events_stored_total{service="ingest",instance="ingest-1"} STORED
# TYPE grandstand_rpc_opened counter
grandstand_rpc_opened_total{service="ingest",instance="ingest-1",method="a b"} 1 # {trace_id="x"} 1 1
# EOF
"""


def test_a_process_that_does_not_answer_is_shown_and_what_fails_with_its_reason() -> None:
    overviews = LocalOverviews(None)
    ingest = {"service": "ingest", "ok": True, "state": "serving"}
    bad = [
        {"name": "event log", "ok": False, "reason": "no space left"},
        {"name": "clock", "ok": True, "reason": ""},
    ]
    silent = {"service": "gateway", "ok": False, "state": "silent", "dependencies": []}
    for second in range(8):
        text = SCRAPED.replace("STORED", str(100 * second))
        ready = {"ingest-1": ingest | {"dependencies": bad}, "gateway-1": silent}
        overviews._hear(text, ready, float(second))
        overviews._mesh.look(second, 1.8e9 + second)
    view = overviews._mesh.overview(7.0, 1.8e9)
    told = {each.instance: (each.state, each.reason) for each in view.processes}
    assert told["ingest-1"] == (pb.PROCESS_STATE_FAILING, "event log: no space left")
    assert told["gateway-1"] == (pb.PROCESS_STATE_SILENT, "not heard")
    assert view.rates.stored == 100
    assert not view.HasField("viewers")
    assert families_by_instance("# EOF\n") == {}
    with pytest.raises(ValueError, match="cut off"):
        families_by_instance(SCRAPED[:-20])


def test_the_screen_holds_whatever_comes() -> None:
    view = pb.Overview(processes_known=3_000, lag_seconds=0.25, lag_blocks=12_345, viewers=15_000)
    names = ("\x1b[2Jevil", "مباراة كرة", "👩‍👩‍👧" * 30, "a\nb")
    for number in range(400):
        reason = names[number % 4] * 20 if number == 399 else ""
        state = pb.PROCESS_STATE_FAILING if reason else pb.PROCESS_STATE_WELL
        view.processes.add(service="gateway", instance=f"gateway-{number}", state=state, reason=reason)
    for name in names:
        view.hottest.add(game_id=name, title=name, events_per_second=1.5)
    view.promises.add(name="stored", ok=False, reason="ingest-1: event log: \x1b[31mno space")
    text = drawn(view, problem="no gateway answers")
    assert "\x1b" not in text
    assert "not stored" in text
    assert "no gateway answers" in text
    assert text.index("gateway-399") < text.index("gateway-0 "), "what needs attention first"
    assert "3,000 processes" in text
    assert len(text.splitlines()) < 3 * PROCESSES_SHOWN_MAX
    assert "no canary" in text
    view.freshness.CopyFrom(
        pb.VoteFreshness(p50_seconds=0.04, p99_seconds=0.9, seen=60, unseen=2, incident_open=True)
    )
    text = drawn(view)
    assert "p50 40 ms  p99 900 ms" in text
    assert "2 unseen" in text
    assert "an incident is open" in text
    assert drawn(pb.Overview(), width=40)
