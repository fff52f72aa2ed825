"""The command itself: a short run on a real mesh is right, and one vote beside what was acked is found."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grandstand.client import ClientError, Publisher, open_channel
from grandstand.event.v1.event_pb2 import Event, Vote
from tests.support.games import run
from tests.support.mesh_fixture import wait_for
from tests.support.nats_versions import nats_version, on_each_nats  # noqa: F401
from toolbox.chaos.strike import GRAY
from toolbox.local.development import producer_token
from toolbox.local.errors import MeshError
from toolbox.local.provision import checkout
from toolbox.local.running import running_mesh

WITHIN_S = 180


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolbox.cli", "chaos", "--json", *arguments],
        cwd=checkout(),
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@on_each_nats
def test_what_was_acked_is_counted_while_processes_are_struck(tmp_path: Path) -> None:
    out, err = started(tmp_path, "--seconds", "30", "--seed", "5", "--rate", "100").communicate(
        timeout=WITHIN_S
    )
    assert out, err
    report = json.loads(out.splitlines()[-1])
    assert report["ok"], err
    assert (report["lost"], report["doubled"], report["went_back"]) == (0, 0, 0)
    assert (report["silently_wrong"], report["strikes_skipped"]) == (0, 0)
    assert report["fractions_shown"] == 0 < report["first_views"] + report["first_views_unanswered"], report
    assert {"freeze", "cut", "rebuild", "forget"} <= {kind for kind, n in report["strikes"].items() if n}, (
        "while polls close, ingests and workers are frozen and cut off; results are rebuilt, and keys lost"
    )
    assert report["sealed"] >= 8
    assert report["taken_back"] > 50
    assert report["games_ended"] == report["games_forgotten"] >= 50 > report["games_unseen"]
    assert report["games_left"] == 0
    assert report["notices_due"] == report["notices_seen"] > 30
    assert report["notices_doubled"] == 0
    assert report["rebuilds"] == report["strikes"]["rebuild"]
    assert report["seasons"] > 6
    assert report["acked"] == report["counted"] > 500
    assert report["reads"] > 5
    assert report["kills"] == report["strikes"]["kill"]
    assert {
        "seed",
        "longest_stall_ms",
        "longest_blind_ms",
        "uncertain",
        "checkpoints",
        "longest_wedge_s",
    } <= report.keys()
    assert "healing" in err, "how far it is, is told on stderr"
    assert not list(tmp_path.iterdir()), "the mesh's home is gone"


@pytest.mark.slow
@on_each_nats
def test_what_lives_and_lies_is_said_and_heals(tmp_path: Path) -> None:
    out, err = started(tmp_path, "--gray", "--seconds", "60", "--seed", "1", "--rate", "200").communicate(
        timeout=WITHIN_S
    )
    assert out, err
    report = json.loads(out.splitlines()[-1])
    assert report["ok"], err
    assert (report["lost"], report["doubled"], report["went_back"]) == (0, 0, 0)
    assert (report["silently_wrong"], report["strikes_skipped"]) == (0, 0)
    assert report["longest_wedge_s"] <= 15
    assert report["health"]["no"], "health says what is wrong"
    assert {kind for kind, count in report["strikes"].items() if count} <= set(GRAY)
    assert report["acked"] == report["counted"] > 500


def test_a_vote_that_nobody_was_acked_for_is_found_and_the_home_is_kept(tmp_path: Path) -> None:
    chaos = started(tmp_path, "--seconds", "8", "--seed", "6", "--rate", "50")

    def is_under_load() -> bool:
        try:
            running_mesh(home())
        except (MeshError, StopIteration):
            return False
        return True

    def home() -> Path:
        return next(tmp_path.glob("grandstand-chaos-*")) / "home"

    async def vote() -> None:
        token = producer_token(home())
        async with (
            open_channel(running_mesh(home()).edge) as channel,
            Publisher(channel, actor_id="x", token=token) as x,
        ):
            while True:
                try:
                    await x.send(Event(game_id="hot", vote=Vote(poll_id="final", option_ids=["red"])))
                except ClientError:  # the game is not open yet
                    await asyncio.sleep(0.1)
                else:
                    return

    wait_for(is_under_load, "the mesh is up", within_s=60)
    run(vote())
    out, err = chaos.communicate(timeout=WITHIN_S)
    report = json.loads(out.splitlines()[-1])
    assert (report["lost"], report["doubled"], report["ok"]) == (0, 1, False)
    assert chaos.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("grandstand: chaos with seed 6: 0 lost, 1 doubled")
    assert "hot poll/final: votes of red" in last
    assert (home() / "logs").is_dir()
