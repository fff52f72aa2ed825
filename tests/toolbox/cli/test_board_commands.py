"""board top, board rank, board open --season: what a person reads, and what a program does."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.support.commands import failed, succeeded
from tests.support.mesh_fixture import RunningMesh


@pytest.fixture(scope="module")
def game(mesh: RunningMesh) -> str:
    """A game with a board `laps` of daily seasons, in which three have scored."""
    game_id = f"b-{uuid.uuid4().hex[:12]}"
    succeeded(mesh.home, "game", "define", game_id, "--spread", "3")
    opened = json.loads(
        succeeded(
            mesh.home,
            *("board", "open", "laps", "Fastest laps", "--mode", "lowest"),
            *("--season", "1d", "--min", "-5", "--max", "7200", "--game", game_id, "--json"),
        )
    )
    assert opened["season"]["every"] == "86400s"
    assert opened["writers"] == "WRITERS_PRODUCERS"
    send = ("send", "score", "laps")
    assert "-5 to 7200 are allowed" in failed(mesh.home, *send, "-6", "--actor", "eve", "--game", game_id)
    eve = ("--game", game_id, "--token", mesh.viewer("eve"))
    assert "is written by producers only" in failed(mesh.home, *send, "1", *eve)
    assert "has not the role owner" in failed(mesh.home, "board", "close", "laps", *eve)
    for actor, points in (("ann", "7200"), ("bob", "6900"), ("cleo", "7100")):
        succeeded(mesh.home, "send", "score", "laps", points, "--actor", actor, "--game", game_id)
    return game_id


def test_the_top_of_a_board_tells_its_season(mesh: RunningMesh, game: str) -> None:
    shown = succeeded(mesh.home, "board", "top", "laps", "--game", game)
    ranks = [line.split() for line in shown.splitlines()[1:4]]
    assert ranks == [["1", "bob", "6,900"], ["2", "cleo", "7,100"], ["3", "ann", "7,200"]]
    assert "3 with a score, season 1 until " in shown
    assert "a season every 1 day" in succeeded(mesh.home, "game", "show", game)


def test_an_owner_asks_for_any_actor_and_others_see_a_name_or_a_pseudonym(
    mesh: RunningMesh, game: str
) -> None:
    succeeded(mesh.home, "game", "define", f"{game}-n")
    of_game = ("--game", f"{game}-n")
    succeeded(mesh.home, "board", "open", "top", "Top", *of_game)
    for actor, points, name in (("auth0|5f7c", "3", ()), ("dee@example.com", "2", ("--name", "Dee D."))):
        succeeded(mesh.home, "send", "score", "top", points, *name, "--actor", actor, *of_game)
    place = succeeded(mesh.home, "board", "rank", "top", "dee@example.com", *of_game)
    assert "dee@example.com is number 2 of 2" in place
    top = succeeded(mesh.home, "board", "top", "top", *of_game)
    assert "Dee D." in top
    assert "player-" in top
    assert "auth0|5f7c" in place
    assert not {"auth0|5f7c", "dee@example.com"} & set(top.split())


def test_an_actor_sees_its_rank_between_its_neighbours(mesh: RunningMesh, game: str) -> None:
    shown = succeeded(mesh.home, "board", "rank", "laps", "cleo", "--neighbours", "1", "--game", game)
    assert "cleo is number 2 of 3" in shown
    assert [line.split()[:2] for line in shown.splitlines()[1:4]] == [
        ["1", "bob"],
        ["2", "cleo"],
        ["3", "ann"],
    ]
    found = json.loads(
        succeeded(mesh.home, "board", "rank", "laps", "ann", "--neighbours", "0", "--game", game, "--json")
    )
    assert found["standing"] == {"rank": 3, "actorId": "ann", "points": "7200"}
    assert found["neighbours"] == [found["standing"]]
    assert found["season"]["number"] == "1"


def test_an_actor_without_a_score_is_told_so(mesh: RunningMesh, game: str) -> None:
    shown = succeeded(mesh.home, "board", "rank", "laps", "dan", "--game", game)
    assert "dan has no score on board/laps (3 with a score" in shown


def test_a_season_that_is_not_there_is_an_error(mesh: RunningMesh, game: str) -> None:
    assert "in its first season" in failed(
        mesh.home, "board", "rank", "laps", "ann", "--previous", "--game", game
    )
    assert "no-board" in failed(mesh.home, "board", "rank", "no-board", "ann", "--game", game)
    assert "board.season" in failed(
        mesh.home, "board", "open", "short", "Short", "--season", "9s", "--game", game
    )


def test_seasons_begin_at_the_time_that_is_given(mesh: RunningMesh, game: str) -> None:
    daily = ("--season", "1d", "--game", game)
    opened = json.loads(
        succeeded(
            mesh.home, "board", "open", "day", "Today", *daily, "--starts", "2026-01-01T06:30+02:00", "--json"
        )
    )
    assert opened["season"] == {"every": "86400s", "startsAt": "2026-01-01T04:30:00Z"}
    assert "no time" in failed(mesh.home, "board", "open", "odd", "Odd", *daily, "--starts", "noon")
    assert "give --season" in failed(
        mesh.home, "board", "open", "odd", "Odd", "--game", game, "--starts", "00:00"
    )
