"""replay FILE on a real mesh: what is good is sent, what is bad is reported by number, and it goes on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.commands import command, failed, succeeded
from tests.support.games import new_game, run
from tests.support.mesh_fixture import RunningMesh


def vote(actor: str, **more: object) -> dict[str, object]:
    return {
        "event": {"actorId": actor, "vote": {"pollId": "mvp", "optionIds": ["red"]}, **more},
    }


def jsonl(*lines: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)


async def _game_with_poll(mesh: RunningMesh) -> str:
    async with new_game(mesh.edge, mesh.mesh) as game:
        await game.open_poll()
        return game.game_id


async def _voters(mesh: RunningMesh, game_id: str) -> int:
    async with new_game(mesh.edge, mesh.mesh) as game:
        return (await game.backend.read(game_id, ["poll/mvp"])).topics[0].tally.voters


def test_bad_and_refused_lines_are_reported_by_number_and_the_rest_is_counted(
    mesh: RunningMesh, tmp_path: Path
) -> None:
    game_id = run(_game_with_poll(mesh))
    path = tmp_path / "recorded"
    path.write_bytes(
        gzip.compress(
            jsonl(
                vote("ann", originSeq=1),
                b"garbage",
                b"",
                vote("bob", originSeq=2),
                vote("bob", originSeq=2),
                vote("bob", originSeq=3),
                {"event": {"actorId": "cy", "vote": {"pollId": "nope", "optionIds": ["red"]}}},
                vote("dan"),
            )
        )
    )
    done = command(mesh.home, "replay", str(path), "--speed", "0", "--game", game_id, "--json")
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "line 2: not JSON" in said
    assert "line 6: ALREADY_EXISTS" in said
    assert "line 7: NOT_FOUND: poll 'nope'" in said
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["refused"] == {"ALREADY_EXISTS": 1, "NOT_FOUND": 1}
    numbers = {name: summary[name] for name in ("lines", "sent", "acked", "bad", "repeated", "unsettled")}
    assert numbers == {"lines": 8, "sent": 5, "acked": 3, "bad": 1, "repeated": 1, "unsettled": 0}
    assert run(_voters(mesh, game_id)) == 3


def test_events_keep_their_distances_at_the_speed_asked_for(mesh: RunningMesh) -> None:
    game_id = run(_game_with_poll(mesh))
    recorded = jsonl(*({"at": n * 0.5, **vote(f"a{n}")} for n in range(5)))
    read = json.loads(
        succeeded(
            mesh.home, "replay", "-", "--speed", "20", "--game", game_id, "--json", stdin=recorded
        ).splitlines()[-1]
    )
    assert (read["sent"], read["acked"]) == (5, 5)
    assert run(_voters(mesh, game_id)) == 5


@pytest.mark.parametrize("strict", [False, True])
def test_only_strict_fails_for_a_bad_line(mesh: RunningMesh, strict: bool) -> None:
    game_id = run(_game_with_poll(mesh))
    recorded = jsonl(vote("ann"), b"garbage")
    arguments = ["replay", "-", "--speed", "0", "--game", game_id, *(["--strict"] if strict else [])]
    assert command(mesh.home, *arguments, stdin=recorded).returncode == int(strict)


def test_a_file_that_holds_nothing_to_send_fails(mesh: RunningMesh, tmp_path: Path) -> None:
    assert "No such file" in failed(mesh.home, "replay", str(tmp_path / "nowhere"))
    assert "Is a directory" in failed(mesh.home, "replay", str(tmp_path))
    assert "none could be sent" in failed(mesh.home, "replay", "-", stdin=b"")
    assert "none could be sent" in failed(mesh.home, "replay", "-", stdin=b"garbage\n")


def test_a_file_that_is_cut_short_is_sent_as_far_as_it_goes_and_fails(
    mesh: RunningMesh, tmp_path: Path
) -> None:
    game_id = run(_game_with_poll(mesh))
    path = tmp_path / "cut.gz"
    whole = gzip.compress(jsonl(*(vote(f"actor-{n}") for n in range(3000))))
    path.write_bytes(whole[: len(whole) // 2])
    done = command(mesh.home, "replay", str(path), "--speed", "0", "--game", game_id, "--json")
    assert done.returncode == 1
    assert b"cannot be read after line" in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert 0 < summary["acked"] == summary["sent"] == run(_voters(mesh, game_id)) < 3000
