"""game, poll, board, send: what a person types, and what a program reads."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.commands import failed, succeeded
from tests.mesh_fixture import RunningMesh


@pytest.fixture
def game(mesh: RunningMesh) -> str:
    """A game of this test's own, defined by the command."""
    game_id = f"c-{uuid.uuid4().hex[:12]}"
    said = succeeded(mesh.home, "game", "define", game_id, "--title", "Cup", "--pulse", "cheer=clap,wow")
    assert game_id in said
    return game_id


def _open_poll(mesh: RunningMesh, game: str, *more: str) -> str:
    options = ("--option", "red=The reds", "--option", "blue=The blues")
    return succeeded(mesh.home, "poll", "open", "mvp", "Who wins?", *options, "--game", game, *more)


def test_a_poll_is_opened_voted_in_shown_and_closed(mesh: RunningMesh, game: str) -> None:
    opened = json.loads(_open_poll(mesh, game, "--for", "2m", "--json"))
    assert (opened["pollId"], opened["stage"], opened["openFor"]) == ("mvp", "STAGE_OPEN", "120s")
    receipt = json.loads(
        succeeded(mesh.home, "send", "vote", "mvp", "blue", "--actor", "ann", "--game", game, "--json")
    )
    assert receipt["originSeq"] == 1
    assert receipt["positions"]
    shown = succeeded(mesh.home, "poll", "watch", "mvp", "--once", "--game", game)
    assert "Who wins?" in shown
    assert "The blues" in shown
    assert "1 voter\n" in shown
    state = json.loads(succeeded(mesh.home, "poll", "watch", "mvp", "--once", "--game", game, "--json"))
    assert [option.get("votes") for option in state["tally"]["options"]] == [None, "1"]
    assert "closes" in succeeded(mesh.home, "poll", "close", "mvp", "--game", game)
    assert "poll/mvp" in succeeded(mesh.home, "game", "show", game)


def test_a_board_shows_who_leads(mesh: RunningMesh, game: str) -> None:
    succeeded(mesh.home, "board", "open", "laps", "Laps", "--mode", "lowest", "--game", game)
    for actor, points in (("ann", "70"), ("bob", "-5")):
        succeeded(mesh.home, "send", "score", "laps", points, "--actor", actor, "--game", game)
    state = json.loads(succeeded(mesh.home, "board", "top", "laps", "--game", game, "--json"))
    entries = [(entry["actorId"], entry["points"]) for entry in state["board"]["entries"]]
    assert entries == [("bob", "-5"), ("ann", "70")]
    assert "bob" in succeeded(mesh.home, "board", "top", "laps", "--game", game)
    assert "closes" in succeeded(mesh.home, "board", "close", "laps", "--game", game)


def test_a_reaction_is_stored(mesh: RunningMesh, game: str) -> None:
    said = succeeded(
        mesh.home, "send", "reaction", "clap", "--pulse", "cheer", "--count", "3", "--game", game
    )
    assert said.startswith("Stored at partition")


def test_a_refusal_is_one_line_with_its_code_and_the_way_out(mesh: RunningMesh, game: str) -> None:
    _open_poll(mesh, game)
    vote = ("send", "vote", "mvp", "red", "--actor", "ann", "--game", game)
    succeeded(mesh.home, *vote)
    assert "ALREADY_EXISTS: actor 'ann' has already voted" in failed(mesh.home, *vote)
    assert "NOT_FOUND: vote.option_ids: 'green'" in failed(
        mesh.home, "send", "vote", "mvp", "green", "--game", game
    )
    assert "INVALID_ARGUMENT: poll.poll_id: 'a b'" in failed(
        mesh.home, "poll", "open", "a b", "?", "--option", "x", "--option", "y", "--game", game
    )
    assert "NOT_FOUND" in failed(mesh.home, "poll", "watch", "nope", "--game", game)
    assert "NOT_FOUND" in failed(mesh.home, "game", "show", f"{game}-no")
    assert "'soon' is no duration" in failed(
        mesh.home, "poll", "open", "b", "?", "--option", "x", "--for", "soon", "--game", game
    )
    assert "'worst' is none of best, last, sum, lowest" in failed(
        mesh.home, "board", "open", "b", "B", "--mode", "worst", "--game", game
    )


def test_without_a_mesh_a_command_says_how_to_start_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("nothing here")
    for arguments in (("game", "show"), ("simulate",), ("replay", "x"), ("send", "vote", "a", "b")):
        assert "start one with ./grandstand up" in failed(home, *arguments)
