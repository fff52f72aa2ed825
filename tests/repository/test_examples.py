"""What the README shows runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from grandstand.catalog.v1.catalog_pb2 import Game, Poll, PollOption
from grandstand.client import Backend, open_channel
from tests.support.games import run
from tests.support.mesh_fixture import RunningMesh
from toolbox.local.provision import checkout


@pytest.mark.parametrize("example", ["native_stubs", "native_client"])
def test_a_native_example_votes_and_sees_its_vote(mesh: RunningMesh, example: str) -> None:
    poll_id = example.replace("_", "-")

    async def open_poll() -> None:
        async with open_channel(mesh.mesh) as channel:
            backend = Backend(channel, token=mesh.owner)
            await backend.define_game(Game(game_id="demo", title="Demo"))
            options = [PollOption(option_id=name, label=name) for name in ("red", "blue")]
            await backend.open_poll(Poll(game_id="demo", poll_id=poll_id, question="?", options=options))

    run(open_poll())
    script = str(checkout() / "examples" / f"{example}.py")
    token = {**os.environ, "GRANDSTAND_TOKEN": mesh.viewer(f"{example}-voter")}
    done = subprocess.run(
        [sys.executable, script, poll_id, "blue", mesh.edge],
        cwd=checkout(),
        env=token,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'red': 0, 'blue': 1}"
    again = subprocess.run(
        [sys.executable, script, poll_id, "green", mesh.edge],
        cwd=checkout(),
        env=token,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert again.returncode == 1
    assert "'green' is not an option of poll" in again.stderr
