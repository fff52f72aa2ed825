"""The canary finds a poll whatever became of the last one, and leaves what is not its own alone."""

from __future__ import annotations

import uuid

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client import Backend, open_channel
from mesh.canary import hidden_game
from tests.support.games import run
from tests.support.mesh_fixture import RunningMesh
from tests.support.servers import eventually


def test_a_poll_is_kept_and_followed_by_another_when_it_or_its_game_has_ended(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with open_channel(mesh.mesh) as channel, open_channel(mesh.edge) as edge:
            backend = Backend(channel, token=mesh.owner)

            async def kept() -> catalog.Poll:
                return await hidden_game.keep(backend, f"{hidden_game.POLL}-{uuid.uuid4().hex[:8]}")

            async def other_than(before: catalog.Poll, what: str) -> catalog.Poll:
                async def ask() -> catalog.Poll | None:
                    found = await kept()
                    return None if found.poll_id == before.poll_id else found

                return await eventually(ask, what)

            # Somebody else's game of the canary's name.
            await backend.define_game(catalog.Game(game_id=hidden_game.GAME, title="Mine"))
            first = await kept()
            assert first.game_id not in (hidden_game.GAME, "")
            assert await kept() == first
            assert await hidden_game.find(Backend(edge), [first.game_id]) == first
            await backend.close_poll(first.game_id, first.poll_id)
            second = await other_than(first, "another poll, once that one is closed")
            assert second.game_id == first.game_id
            await backend.end_game(first.game_id)
            third = await other_than(second, "another game, once that one has ended")
            assert third.game_id not in (first.game_id, hidden_game.GAME)
            found = await backend.get_game(third.game_id)
            assert found.game.idle_for.ToSeconds() == 0
            assert found.game.HasField("idle_for"), "it is never ended for want of events"
            listed = {game.game_id async for game in backend.list_games()}
            assert not [game_id for game_id in listed if game_id.startswith("_")]
            assert third.game_id in {game.game_id async for game in backend.list_games(hidden=True)}
            await backend.end_game(third.game_id)

    run(scenario())
