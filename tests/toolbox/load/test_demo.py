"""The demo keeps a game alive, picks up where it was, and goes at once when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, GetGameResponse
from grandstand.client import Backend, ClientError, Viewer, open_channel
from tests.support.games import run
from tests.support.mesh_fixture import RunningMesh
from toolbox.load import questions
from toolbox.local.provision import checkout


@contextlib.contextmanager
def demo(mesh: RunningMesh, game_id: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "toolbox.cli.demo"),
            *("--edge", mesh.edge, "--mesh", mesh.mesh, "--game", game_id, "--home", str(mesh.home)),
        ],
        cwd=checkout(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_demo_votes_reacts_and_scores_and_a_restart_joins_the_open_poll(mesh: RunningMesh) -> None:
    game_id = f"demo-{uuid.uuid4().hex[:8]}"
    with demo(mesh, game_id) as first:
        polls = run(_alive(mesh, game_id))
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        assert first.wait(10) == 0
        assert time.monotonic() - began < 5
    with demo(mesh, game_id):
        assert run(_alive(mesh, game_id)) == polls


async def _alive(mesh: RunningMesh, game_id: str) -> list[str]:
    """Waits until all there is to see moves; returns the ids of the polls."""
    async with open_channel(mesh.edge) as channel:
        backend = Backend(channel)
        (poll,) = (await _staged(backend, game_id)).polls
        assert poll.stage == STAGE_OPEN
        assert questions.name_in(poll.poll_id)
        viewer = Viewer(channel, game_id)
        first: dict[str, bytes] = {}
        wanted = {
            *(f"poll/{poll.poll_id}", "board/top", "board/sprint"),
            *("pulse/reactions", "metric/ack-delay", "audience"),
        }
        moved: set[str] = set()
        async for _ in viewer:
            for topic, state in viewer.states.items():
                shown = state.cursor.SerializeToString()
                if first.setdefault(topic, shown) != shown:
                    moved.add(topic)
            if wanted <= moved:
                break
        return [poll.poll_id]


async def _staged(backend: Backend, game_id: str) -> GetGameResponse:
    """Waits until the game has its poll and its board."""
    while True:
        with contextlib.suppress(ClientError):
            listed = await backend.get_game(game_id)
            if listed.polls and len(listed.boards) == 2:
                return listed
        await asyncio.sleep(0.05)


def test_the_questions_follow_one_another_and_begin_again() -> None:
    names = [question.name for question in questions.QUESTIONS]
    assert len(set(names)) == len(names)
    asked = [questions.after(None)]
    while len(asked) <= len(names):
        asked.append(questions.after(asked[-1].name))
    assert [question.name for question in asked] == [*names, names[0]]
    assert questions.after("gone").name == names[0]


def test_a_demo_poll_is_told_from_others_by_its_id() -> None:
    for question in questions.QUESTIONS:
        poll = questions.poll_of(question, "demo", 1_795_000_000.7, 120)
        assert questions.name_in(poll.poll_id) == question.name
        assert poll.changeable
        assert poll.open_for.seconds == 120
    assert questions.name_in("mvp") is None
    assert questions.name_in("sim-123") is None
