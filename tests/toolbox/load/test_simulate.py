"""simulate: the crowd's proof that acked equals counted, also while services die under it (I1, I2, I5)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.commands import command, failed
from tests.support.games import run, until
from tests.support.mesh_fixture import RunningMesh, running
from toolbox.load.account import LoadPlan, LoadProgress
from toolbox.load.simulate import Simulation
from toolbox.local.provision import checkout

VICTIMS = ("ingest-1", "gateway-1", "aggregate-1", "envoy", "nats", "valkey")


def test_the_summary_says_that_every_acked_vote_was_counted_once(mesh: RunningMesh) -> None:
    arguments = ("simulate", "--viewers", "12", "--rate", "60", "--seconds", "2", "--game", "sim", "--json")
    done = command(mesh.home, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["ok"]
    assert summary["sent"] == summary["acked"] == summary["counted"] > 50
    assert summary["points_acked"] == summary["points_counted"] > 0
    assert summary["reactions_acked"] == summary["reactions_sent"] > 0
    assert summary["presences_acked"] == summary["presences_sent"] > 0
    assert summary["measures_acked"] == summary["measures_sent"] > 0
    assert summary["measured"] == summary["acked"]
    assert (
        summary["unacked"]
        == summary["unacked_counted"]
        == summary["unacked_reported"]
        == summary["shed"]
        == 0
    )
    assert summary["seen"] > 12
    assert 0 < summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"]


def test_a_person_reads_the_same(mesh: RunningMesh) -> None:
    done = command(mesh.home, "simulate", "-v", "2", "-r", "10", "-s", "1", "--game", "sim")
    assert done.returncode == 0, done.stderr.decode()
    assert b"acked == counted" in done.stdout


def test_all_services_are_killed_one_after_the_other_and_nothing_acked_is_lost(tmp_path: Path) -> None:
    with running(tmp_path / "home") as fragile:

        async def kill_all(stop: asyncio.Event, progress: LoadProgress) -> None:
            for victim in VICTIMS:
                old_pid = await asyncio.to_thread(fragile.kill, victim)
                await asyncio.to_thread(fragile.wait_restarted, victim, old_pid)
                acked = progress.acked
                await until(lambda acked=acked: progress.acked > acked + 50, f"it goes on after {victim}", 30)
            stop.set()

        async def scenario() -> None:
            game_id = "spread-4"
            await _define(fragile, game_id, 4)
            seen: list[LoadProgress] = []
            simulation = Simulation(
                LoadPlan(fragile.edge, fragile.mesh, game_id, viewers=10, rate=100, seconds=0),
                seen.append,
                token=fragile.owner,
            )
            running_simulation = asyncio.create_task(simulation.run())
            await until(lambda: running_simulation.done() or (seen and seen[-1].acked > 50), "it sends")
            assert not running_simulation.done(), running_simulation.result()
            await kill_all(simulation.stop, seen[-1])
            summary = await running_simulation
            assert summary.ok, summary.problems
            assert summary.unacked == summary.unacked_reported
            assert summary.counted == summary.acked + summary.unacked_counted
            assert summary.points_acked == summary.points_counted
            assert summary.resumed_publish > 0
            assert summary.resumed_subscribe > 0
            assert summary.went_back == 0

        run(scenario(), within_s=150)


async def _define(mesh: RunningMesh, game_id: str, spread: int) -> None:
    from grandstand.catalog.v1.catalog_pb2 import Game, Pulse
    from grandstand.client import Backend, open_channel

    async with open_channel(mesh.mesh) as channel:
        pulse = Pulse(pulse_id="cheer", kinds=["clap"])
        await Backend(channel, token=mesh.owner).define_game(
            Game(game_id=game_id, title=game_id, spread=spread, pulses=[pulse])
        )


def test_ctrl_c_ends_the_sending_and_still_closes_the_account(mesh: RunningMesh) -> None:
    simulating = subprocess.Popen(
        [
            *(sys.executable, "-m", "toolbox.cli", "simulate", "-v", "3", "-r", "30", "-s", "0"),
            *("--game", "sim", "--json", "--home", str(mesh.home)),
        ],
        cwd=checkout(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert simulating.stderr is not None
        # Its first line of progress: it is sending.
        assert b"sent" in simulating.stderr.readline()
        simulating.send_signal(signal.SIGINT)
        output, _ = simulating.communicate(timeout=60)
    finally:
        simulating.kill()
        simulating.wait()
    assert simulating.returncode == 0
    assert json.loads(output.splitlines()[-1])["ok"]


def test_a_mix_that_is_none_is_said(mesh: RunningMesh) -> None:
    assert "--mix 'much'" in failed(mesh.home, "simulate", "--mix", "much")
