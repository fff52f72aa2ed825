"""game, poll, board, send: what a person types, and what a program reads."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.support.commands import failed, succeeded
from tests.support.mesh_fixture import RunningMesh


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


def test_a_games_definition_grows_by_the_command(mesh: RunningMesh, game: str) -> None:
    define = ("game", "define", game)
    succeeded(mesh.home, *define, "--metric", "delay=ms", "--audience", "--pulse", "cheer=boo")
    defined = json.loads(succeeded(mesh.home, *define, "--title", "The cup", "--json"))
    assert defined["title"] == "The cup"
    assert defined["pulses"] == [{"pulseId": "cheer", "kinds": ["clap", "wow", "boo"]}]
    assert defined["metrics"] == [{"metricId": "delay", "unit": "ms", "writers": "WRITERS_PRODUCERS"}]
    assert "'delay' counts in game" in failed(
        mesh.home, *define, "--metric", "delay=ms", "--writers", "actors"
    )
    assert "'guests' is none of producers, actors" in failed(mesh.home, *define, "--writers", "guests")
    assert defined["audience"]
    shown = succeeded(mesh.home, "game", "show", game)
    assert "metric delay in ms" in shown
    assert "audience" in shown
    assert "FAILED_PRECONDITION: game.spread: is 1 and cannot become 2" in failed(
        mesh.home, *define, "--spread", "2"
    )
    assert "game.customs[0].fold: 'nothing' is not registered" in failed(
        mesh.home, *define, "--custom", "w=nothing"
    )
    assert "'cheers' is not of the form ID=KIND,KIND" in failed(mesh.home, *define, "--pulse", "cheers")


def test_presence_and_measures_are_stored(mesh: RunningMesh, game: str) -> None:
    succeeded(mesh.home, "game", "define", game, "--metric", "delay=ms", "--audience")
    to = ("--actor", "ann", "--game", game)
    for event in (("presence",), ("presence", "--gone"), ("measure", "delay", "-1.5")):
        assert succeeded(mesh.home, "send", *event, *to).startswith("Stored at partition")
    assert "NOT_FOUND: custom.custom_id: 'words' is not a custom topic" in failed(
        mesh.home, "send", "custom", "words", "hello", *to
    )


def test_a_poll_takes_several_choices_and_weights(mesh: RunningMesh, game: str) -> None:
    _open_poll(mesh, game, "--choices", "2", "--weight-max", "5")
    to = ("--game", game)
    succeeded(mesh.home, "send", "vote", "mvp", "red", "blue", "--actor", "ann", *to)
    succeeded(mesh.home, "send", "vote", "mvp", "red", "--weight", "5", "--actor", "bob", *to)
    state = json.loads(succeeded(mesh.home, "poll", "watch", "mvp", "--once", *to, "--json"))
    options = [(o["votes"], o["weight"]) for o in state["tally"]["options"]]
    assert options == [("2", "6"), ("1", "1")]
    assert state["tally"]["voters"] == "2"
    assert "is 6; at most 5 is allowed in poll 'mvp'" in failed(
        mesh.home, "send", "vote", "mvp", "red", "--weight", "6", "--actor", "eve", *to
    )


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
