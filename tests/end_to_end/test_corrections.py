"""An owner takes back what an actor did, on a running mesh: viewers see it at once, and others may not."""

from __future__ import annotations

import contextlib
import json
import re

import grpc
import pytest

from grandstand.aggregate.v1.aggregate_pb2 import TallyResult, TopicState
from grandstand.client import Backend, ClientError, open_channel
from grandstand.event.v1.event_pb2 import Event, Position, Score
from tests.support.commands import failed, succeeded
from tests.support.games import new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh
from toolbox.local.development import development_token


def shown(tally: TallyResult) -> tuple[dict[str, int], int, int]:
    return votes_of(TopicState(tally=tally)), tally.voters, tally.voided


def test_a_voided_vote_goes_from_every_result_and_its_actor_may_vote_again(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=4) as game:
            await game.open_poll()
            positions = []
            for actor in ("ann", "bob", "eve"):
                positions += await game.send(game.vote(actor))
            async with game.watching("poll/mvp", positions=positions) as viewer:
                counts: list[tuple[dict[str, int], int, int]] = []

                def reached(*expected: object) -> bool:
                    counts.append(shown(viewer.states["poll/mvp"].tally))
                    return counts[-1] == expected

                await until(lambda: reached({"red": 3, "blue": 0}, 3, 0), "all votes are shown")
                voided = await game.backend.void_votes(game.game_id, "mvp", "eve")
                state = await game.topic("poll/mvp", [voided.applied_at])
                assert shown(state.tally) == ({"red": 2, "blue": 0}, 2, 1)
                await until(lambda: reached({"red": 2, "blue": 0}, 2, 1), "the viewer sees it")
                await game.backend.void_votes(game.game_id, "mvp", "eve")
                again = await game.backend.void_votes(game.game_id, "mvp", "nobody")
                state = await game.topic("poll/mvp", [again.applied_at])
                assert shown(state.tally) == ({"red": 2, "blue": 0}, 2, 1)

                async def voted_again() -> bool:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await game.send(game.vote("eve", "blue"))
                        return True
                    return False

                assert await voted_again(), "ingest has heard of it by the answer, or asks"
                await until(lambda: reached({"red": 2, "blue": 1}, 3, 0), "the new vote counts")
                assert not await voted_again(), "and it is final again"
                assert viewer.cache.went_back == 0
            with pytest.raises(ClientError, match="poll 'no-poll' is not known") as told:
                await game.backend.void_votes(game.game_id, "no-poll", "ann")
            assert told.value.code is grpc.StatusCode.NOT_FOUND

    run(scenario())


def test_a_removed_score_goes_from_the_board_and_the_rank(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=3) as game:
            await game.open_board("laps")
            positions = []

            async def scored(actor: str, points: int) -> list[Position]:
                score = Score(board_id="laps", points=points)
                return await game.send(Event(game_id=game.game_id, actor_id=actor, score=score))

            for actor, points in (("ann", 5), ("bob", 9), ("eve", 7)):
                positions += await scored(actor, points)
            read = game.backend.read_standing
            found = await read(game.game_id, "laps", "ann", positions=positions)
            assert (found.standing.rank, found.actors) == (3, 3)
            removed = await game.backend.remove_score(game.game_id, "laps", "bob")
            found = await read(game.game_id, "laps", "ann", positions=[removed.applied_at])
            assert (found.standing.rank, found.actors) == (2, 2)
            gone = await read(game.game_id, "laps", "bob", positions=[removed.applied_at])
            assert not gone.HasField("standing")
            found = await read(game.game_id, "laps", "bob", positions=await scored("bob", 1))
            assert (found.standing.rank, found.standing.points) == (3, 1), "the sum begins at 0"
            with pytest.raises(ClientError, match=r"season: is 1; .* has no seasons") as told:
                await game.backend.remove_score(game.game_id, "laps", "bob", season=1)
            assert told.value.code is grpc.StatusCode.FAILED_PRECONDITION

    run(scenario())


def test_i10_only_an_owner_of_the_game_takes_back_and_a_line_says_who_it_was(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, open_channel(mesh.mesh) as listener:
            await game.open_poll()
            await game.open_board()
            positions = await game.send(game.vote("ann"))
            others = development_token(mesh.home, "eve", roles=["owner"], games=["other"])
            for token in (mesh.producer(), others):
                backend = Backend(listener, token=token)
                for call in (
                    backend.void_votes(game.game_id, "mvp", "ann"),
                    backend.remove_score(game.game_id, "top", "ann"),
                ):
                    with pytest.raises(ClientError) as told:
                        await call
                    assert told.value.code is grpc.StatusCode.PERMISSION_DENIED
            assert votes_of(await game.topic("poll/mvp", positions)) == {"red": 1, "blue": 0}
            await game.backend.void_votes(game.game_id, "mvp", "ann")
            await game.backend.remove_score(game.game_id, "top", "ann")
            for what in (
                "voided the votes of ann in poll mvp",
                "removed the score of ann from board top",
            ):
                line = re.compile(rf'"{what} of game {game.game_id} \(.* by tests \(owner\) from ')
                await until(lambda line=line: line.search(mesh.log("aggregate-1")), what)  # type: ignore[misc]

    run(scenario())


def test_from_a_terminal(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            await game.open_board()
            for actor in ("ann", "bob"):
                await game.send(game.vote(actor))
            of_game = ("--game", game.game_id)
            told = succeeded(mesh.home, "poll", "void", "mvp", "ann", *of_game)
            assert told.strip() == "No vote of ann counts in poll mvp up to now: 1 voter, 1 voided."
            assert "1 voter, 1 voided" in succeeded(mesh.home, "poll", "watch", "mvp", "--once", *of_game)
            said = json.loads(succeeded(mesh.home, "poll", "void", "mvp", "ann", *of_game, "--json"))
            assert said["poll"]["voids"] == "2"
            told = succeeded(mesh.home, "board", "remove", "top", "ann", *of_game)
            assert told.strip() == "No score of ann counts on board top up to now."
            assert "has no seasons" in failed(
                mesh.home, "board", "remove", "top", "ann", "--season", "2", *of_game
            )

    run(scenario())
