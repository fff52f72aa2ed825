"""ReadStanding on the running mesh: through the edge, past the barrier, over seasons."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LOWEST,
    WRITERS_ACTORS,
    Board,
    Season,
)
from grandstand.client import Backend, ClientError
from grandstand.event.v1.event_pb2 import Event, Position, Score
from tests.support.games import GameClient, new_game, run, until
from tests.support.mesh_fixture import RunningMesh

SEASON_S = 10
LEFT_S = 3
"""How long the first season lasts from its opening."""


async def score(game: GameClient, actor: str, points: int) -> list[Position]:
    event = Event(game_id=game.game_id, actor_id=actor, score=Score(board_id="laps", points=points))
    return await game.send(event)


def test_an_actors_own_rank_and_neighbours_include_the_scores_whose_positions_are_given(
    mesh: RunningMesh,
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=4) as game:
            await game.open_board("laps", BOARD_MODE_LOWEST)
            edge = Backend(game.edge)
            unscored = await edge.read_standing(game.game_id, "laps", "fan-3", neighbours=2)
            assert not unscored.HasField("standing")
            assert (list(unscored.neighbours), unscored.actors) == ([], 0)
            sent = await asyncio.gather(*(score(game, f"fan-{n}", 100 + n) for n in range(12)))
            positions = [position for each in sent for position in each]
            found = await edge.read_standing(game.game_id, "laps", "fan-5", neighbours=2, positions=positions)
            assert (found.standing.rank, found.standing.points, found.actors) == (6, 105, 12)
            assert [(e.rank, e.actor_id) for e in found.neighbours] == [
                (n, f"fan-{n - 1}") for n in (4, 5, 6, 7, 8)
            ]
            assert not found.HasField("season")
            better = await score(game, "fan-5", -1)
            found = await edge.read_standing(game.game_id, "laps", "fan-5", positions=better)
            assert (found.standing.rank, found.standing.points) == (1, -1)
            assert list(found.neighbours) == [found.standing]

    run(scenario())


def test_what_cannot_be_answered_is_named(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_board("laps", BOARD_MODE_BEST)
            edge = Backend(game.edge)

            async def refused(code: grpc.StatusCode, names: str, *asked: str, **more: object) -> None:
                with pytest.raises(ClientError, match=names) as caught:
                    await edge.read_standing(*asked, **more)  # type: ignore[arg-type]
                assert caught.value.code == code

            missing, invalid = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
            await refused(missing, "no-such-game", "no-such-game", "laps", "ann")
            await refused(missing, "no-such-board", game.game_id, "no-such-board", "ann")
            await refused(missing, "has no seasons", game.game_id, "laps", "ann", previous_season=True)
            await refused(
                invalid, "neighbours: is 26; at most 25", game.game_id, "laps", "ann", neighbours=26
            )
            await refused(invalid, r"actor_id: 'a\\nb'", game.game_id, "laps", "a\nb")

    run(scenario())


def test_a_closed_season_stays_readable_while_the_next_one_runs(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=2) as game:
            season = Season(every=Duration(seconds=SEASON_S))
            season.starts_at.FromNanoseconds(int((time.time() - SEASON_S + LEFT_S) * 1e9))
            await game.backend.open_board(
                Board(
                    game_id=game.game_id,
                    board_id="laps",
                    title="Laps",
                    mode=BOARD_MODE_BEST,
                    season=season,
                    writers=WRITERS_ACTORS,
                )
            )
            edge = Backend(game.edge)
            async with game.watching("board/laps") as viewer:
                sent = [*await score(game, "ann", 7), *await score(game, "bob", 5)]
                first = await edge.read_standing(game.game_id, "laps", "bob", neighbours=1, positions=sent)
                assert (first.standing.rank, first.season.number) == (2, 1)
                with pytest.raises(ClientError, match="is in its first season"):
                    await edge.read_standing(game.game_id, "laps", "bob", previous_season=True)
                # Nobody scores: the season turns all the same, in every partition.
                await until(
                    lambda: viewer.states["board/laps"].board.season.number == 2, "the second season begins"
                )
                shown = viewer.states["board/laps"].board
                assert (list(shown.entries), shown.actors) == ([], 0)
                assert shown.season.starts_at == first.season.ends_at
                assert [(e.rank, e.actor_id, e.points) for e in shown.previous.entries] == [
                    (1, "ann", 7),
                    (2, "bob", 5),
                ]
                now = await score(game, "bob", 1)
                standing = await edge.read_standing(game.game_id, "laps", "bob", positions=now)
                assert (standing.standing.rank, standing.season.number) == (1, 2)
                before = await edge.read_standing(
                    game.game_id, "laps", "bob", neighbours=1, previous_season=True
                )
                assert (before.standing.rank, before.actors, before.season) == (2, 2, first.season)
                assert [e.actor_id for e in before.neighbours] == ["ann", "bob"]

    run(scenario())
