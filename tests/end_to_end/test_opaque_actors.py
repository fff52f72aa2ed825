"""Actors as platforms have them, on a running mesh: each votes, scores, is told its place and its inbox."""

from __future__ import annotations

import time

import grpc
import pytest

from grandstand.client import Backend, ClientError, open_channel
from grandstand.event.v1.event_pb2 import Event, Position, Score
from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest
from mesh.auth import mint, read_signing_keys
from mesh.jetstream.bus import Bus
from mesh.pseudonyms import may_be_shown
from mesh.redis.database import Database
from tests.support.games import GameClient, bearing, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh
from tests.support.stored_notices import StoredNotices
from toolbox.local.development import DEVELOPMENT_KEY

ACTORS = ["auth0|5f7c", "f:uuid:ann", "ann@example.com", "🦊", "é" * 64, "!begun", "ann"]


def test_actors_with_any_id_vote_score_and_are_told_what_is_theirs_and_others_see_no_address(
    mesh: RunningMesh,
) -> None:
    async def scenario() -> None:
        stores = mesh.stores()
        database, bus = Database(stores.redis), await Bus.connect(stores.nats, "test")
        async with new_game(mesh.edge, mesh.mesh) as game, open_channel(mesh.edge) as edge:
            await game.open_poll()
            await game.open_board()
            positions = []
            for points, actor in enumerate(ACTORS, start=1):
                own = GameClient(bearing(edge, mesh.viewer(actor)), game.mesh, game.game_id)
                # A browser names nobody: who acts is in its token. The producer names whom it acts for.
                vote = game.vote("")
                score = Event(
                    game_id=game.game_id, actor_id=actor, score=Score(board_id="top", points=points)
                )
                positions += [*await own.send(vote), *await game.send(score)]
                await StoredNotices(bus, database).tell(actor, actor)
            tally = await game.topic("poll/mvp", positions)
            assert (votes_of(tally), tally.tally.voters) == ({"red": len(ACTORS), "blue": 0}, len(ACTORS))

            # The owner reads the actors' own ids, everybody else what is shown of them.
            best = [entry.actor_id for entry in (await game.topic("board/top", positions)).board.entries]
            assert best == ACTORS[::-1]
            anybody = Backend(edge)
            read = await anybody.read(game.game_id, ["board/top"], positions)
            entries = read.topics[0].board.entries
            shown = {actor: entry.actor_id for actor, entry in zip(ACTORS[::-1], entries, strict=True)}
            assert [actor for actor in ACTORS if shown[actor] == actor] == ["ann"]
            assert len(set(shown.values())) == len(ACTORS)

            for rank, actor in enumerate(ACTORS[::-1], start=1):
                token = mesh.viewer(actor)
                viewer = GameClient(bearing(edge, token), game.mesh, game.game_id)
                async with viewer.watching("board/top", "standing/top", "inbox", token=token) as screen:
                    states = screen.cache.states
                    await until(lambda: {"standing/top", "inbox"} <= states.keys(), "its own come")  # noqa: B023
                    mine = states["standing/top"].standing.standing
                    assert (mine.rank, mine.actor_id) == (rank, shown[actor])
                    assert [
                        e.rank for e in states["board/top"].board.entries if e.actor_id == mine.actor_id
                    ] == [rank]
                    # On a mesh of many tests "ann" may have been told something else, too.
                    told = [n.title for n in states["inbox"].inbox.newest]
                    assert [title for title in told if title in ACTORS] == [actor]
                issued = await viewer.gateway.IssueOrigin(IssueOriginRequest(), timeout=10)
                assert issued.shown_as == shown[actor]
                own = Backend(bearing(edge, mesh.viewer(actor)))
                found = await own.read_standing(game.game_id, "top", actor, neighbours=1)
                assert found.standing == mine
                assert all(may_be_shown(e.actor_id) or e.actor_id in shown.values() for e in found.neighbours)
                if shown[actor] != actor:
                    for stranger in (anybody, Backend(bearing(edge, mesh.viewer("eve")))):
                        with pytest.raises(ClientError, match="is shown to others under a pseudonym") as told:
                            await stranger.read_standing(game.game_id, "top", actor)
                        assert told.value.code is grpc.StatusCode.PERMISSION_DENIED
        await bus.close()
        await database.aclose()

    run(scenario())


def test_others_see_the_name_that_a_token_claims_or_a_producer_gives_and_the_latest_holds(
    mesh: RunningMesh,
) -> None:
    def named(actor: str, name: str) -> str:
        key = read_signing_keys(mesh.home / DEVELOPMENT_KEY)[0]
        return mint.token(key, actor_id=actor, now_s=time.time(), life_s=600, name=name)

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, open_channel(mesh.edge) as edge:
            await game.open_board()

            def score(points: int, actor: str = "", name: str = "") -> Event:
                said = Score(board_id="top", points=points, name=name)
                return Event(game_id=game.game_id, actor_id=actor, score=said)

            async def browser_sends(actor: str, name: str, points: int) -> list[Position]:
                own = GameClient(bearing(edge, named(actor, name)), game.mesh, game.game_id)
                return await own.send(score(points))

            async def names(positions: list[Position]) -> dict[str, int]:
                """By what is shown under it, as anybody sees it."""
                states = await Backend(edge).read(game.game_id, ["board/top"], positions)
                return {
                    entry.name or entry.actor_id: entry.points for entry in states.topics[0].board.entries
                }

            positions = await browser_sends("ann@example.com", "Ann B.", 5)
            positions += await browser_sends("bob@example.com", "bob@example.com", 4)
            positions += await game.send(score(3, "auth0|cy", "Cy"))
            positions += await game.send(score(2, "dee"))
            found = await names(positions)
            (bobs,) = found.keys() - {"Ann B.", "Cy", "dee"}
            assert bobs.startswith("player-")
            # A new name, and one for an actor that had none: by a score of nothing.
            positions = await browser_sends("ann@example.com", "Zoë", 0)
            positions += await game.send(score(0, "bob@example.com", "Bob"))
            assert await names(positions) == {"Zoë": 5, "Bob": 4, "Cy": 3, "dee": 2}
            eve = GameClient(bearing(edge, named("eve", "Eve")), game.mesh, game.game_id)
            with pytest.raises(grpc.aio.AioRpcError, match="only a producer names actors"):
                await eve.send(score(1, name="Admin"))
            own_place = await Backend(bearing(edge, named("auth0|cy", ""))).read_standing(
                game.game_id, "top", "auth0|cy", neighbours=1
            )
            assert [entry.name for entry in own_place.neighbours] == ["Bob", "Cy", ""]

    run(scenario())
