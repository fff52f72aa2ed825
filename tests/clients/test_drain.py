"""A rolling restart of gateways under viewers: nobody misses an update, nobody sees an older state (I5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from grandstand.client import Publisher, Viewer
from tests.support.games import new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh, running
from tests.support.rolling import restarts

VIEWERS = 12


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running(tmp_path_factory.mktemp("drain") / "home", "--gateway", "2") as started:
        yield started


async def going(rolling: Iterator[str], vote: Callable[[], Awaitable[None]]) -> str | None:
    """The next gateway that was told to go away; votes come in while the one before is not back."""
    next_one = asyncio.create_task(asyncio.to_thread(next, rolling, None))
    while not next_one.done():
        await vote()
    return await next_one


def red(viewer: Viewer) -> int:
    return votes_of(viewer.states.get("poll/mvp")).get("red", 0)


def test_i5_a_rolling_restart_of_the_gateways_is_not_noticed_by_whoever_watches(fragile: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(fragile.edge, fragile.mesh) as game, AsyncExitStack() as stack:
            await game.open_poll()
            viewers = [await stack.enter_async_context(game.watching("poll/*")) for _ in range(VIEWERS)]
            publisher = await stack.enter_async_context(Publisher(game.edge, producer=True))
            sent = 0

            async def vote() -> None:
                nonlocal sent
                receipt = await publisher.send(game.vote(f"actor-{sent}"))
                sent += 1
                await until(
                    lambda: all(red(each) == sent for each in viewers), f"vote {sent} is on all screens"
                )
                assert receipt.positions

            await vote()
            rolling = restarts(fragile)
            while await going(rolling, vote) is not None:
                await vote()
            # Whoever was on the first gateway went to the second, and that one was restarted too.
            await until(lambda: all(viewer.drained for viewer in viewers), "everybody was told")
            counted = await game.topic("poll/mvp")
            assert all(viewer.states["poll/mvp"].tally == counted.tally for viewer in viewers)
            assert {viewer.cache.went_back for viewer in viewers} == {0}
            assert {viewer.mismatches for viewer in viewers} == {0}
            # Every stream that ended had a successor by then, and none was opened for another reason.
            assert [viewer.resumed for viewer in viewers] == [viewer.drained for viewer in viewers]

    run(scenario(), within_s=120)
