"""Defining games by many callers at once, as a platform's backend does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from bench._games_votes import OPTIONS, POLL_ID
from bench._mesh import BenchMesh
from grandstand.catalog.v1.catalog_pb2 import Game, Poll, PollOption
from grandstand.client import Backend, open_channel

CALLERS = 64
_PATIENCE_S = 60.0


@asynccontextmanager
async def backend_of(mesh: BenchMesh) -> AsyncIterator[Backend]:
    async with open_channel(mesh.addresses.mesh) as channel:
        yield Backend(channel, token=mesh.token, patience_s=_PATIENCE_S)


async def by_callers(
    names: Iterable[str], call: Callable[[str], Awaitable[object]], until_s: float = 0.0
) -> int:
    """CALLERS at once; stops when the monotonic clock is past `until_s`, if given. How many calls were made.
    Raises what a call raises."""
    left, made = iter(names), 0

    async def caller() -> None:
        nonlocal made
        for name in left:
            if until_s and time.monotonic() > until_s:
                return
            await call(name)
            made += 1

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    try:
        await asyncio.gather(*callers)
    finally:
        for each in callers:
            each.cancel()
    return made


async def define_open(mesh: BenchMesh, names: Iterable[str]) -> None:
    """Games with an open poll each. Raises ClientError."""
    async with backend_of(mesh) as backend:

        async def one(name: str) -> None:
            await backend.define_game(Game(game_id=name, title=f"Game {name}"))
            await backend.open_poll(poll_of(name))

        await by_callers(names, one)


async def defined_per_s(mesh: BenchMesh, standing: int, count: int, patience_s: float) -> tuple[float, int]:
    """How many games a second are defined once `standing` more are, and how many more there were by then:
    fewer than asked for when that took longer than patience. Raises ClientError."""
    async with backend_of(mesh) as backend:

        async def one(name: str) -> None:
            await backend.define_game(Game(game_id=name, title=f"Game {name}"))

        names = (f"standing-{number}" for number in range(standing))
        stood = await by_callers(names, one, time.monotonic() + patience_s)
        began_s = time.monotonic()
        made = await by_callers((f"more-{number}" for number in range(count)), one, began_s + patience_s)
        return made / (time.monotonic() - began_s), stood


def poll_of(game_id: str) -> Poll:
    options = [PollOption(option_id=each, label=each.title()) for each in OPTIONS]
    return Poll(game_id=game_id, poll_id=POLL_ID, question="Who?", options=options)
