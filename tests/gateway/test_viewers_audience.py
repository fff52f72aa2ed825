"""Who watches is counted: an actor once, however many streams, from when it comes until it has left."""

from __future__ import annotations

import contextlib

from grandstand.client import Viewer
from grandstand.gateway.v1.gateway_pb2 import IssueGuestRequest
from tests.support.games import new_game, run, until
from tests.support.mesh_fixture import RunningMesh


def counted(viewer: Viewer) -> tuple[int, int]:
    """Viewers now, and uniques."""
    state = viewer.states.get("audience")
    return (state.audience.viewers, state.audience.uniques) if state is not None else (0, 0)


def test_who_watches_with_a_token_is_in_the_audience_and_nobody_else(mesh: RunningMesh) -> None:
    ann, bob = mesh.viewer("ann"), mesh.viewer("bob")

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.add(audience=True)
            guest = (await game.gateway.IssueGuest(IssueGuestRequest(), metadata=())).token
            async with game.watching("audience") as nobody:
                async with contextlib.AsyncExitStack() as anns:
                    for _ in range(3):
                        await anns.enter_async_context(game.watching("poll/*", token=ann))
                    await until(lambda: counted(nobody) == (1, 1), "ann is here, once")
                    async with game.watching("audience", token=bob) as his:
                        await until(lambda: counted(nobody) == (2, 2), "bob is here too")
                        await until(lambda: counted(his) == (2, 2), "and sees himself counted")
                    await until(lambda: counted(nobody) == (1, 2), "bob has left")
                await until(lambda: counted(nobody) == (0, 2), "ann has left with her last stream")
                async with game.watching("poll/*", token=guest):
                    await until(lambda: counted(nobody) == (1, 3), "a guest is here")
                    audience = nobody.states["audience"].audience
                    assert (audience.guest_viewers, audience.guest_uniques) == (1, 1)

    run(scenario(), within_s=120)


def test_a_game_that_counts_no_audience_has_none_however_many_watch(mesh: RunningMesh) -> None:
    ann = mesh.viewer("ann")

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, new_game(mesh.edge, mesh.mesh) as beside:
            await beside.add(audience=True)
            async with game.watching(token=ann) as viewer, beside.watching(token=ann) as counting:
                await until(lambda: counted(counting) == (1, 1), "she is counted where audiences are")
                assert "audience" not in viewer.states
        for name in ("gateway-1", "gateway-2"):
            assert "gateway.presence_reporter" not in mesh.log(name)

    run(scenario())
