"""Requests of a process to something that it stands on, over a network that loses and delays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.cuts import Cuts, Thing
from tests.simulation.process import Process

PATIENCE_S = 2.0
_LOST = 0.02
_MEAN_S = 0.003


async def ask(
    process: Process,
    cuts: Cuts,
    thing: Thing,
    effect: Callable[[], Any],
    silence: Callable[[], Exception],
    patience_s: float = PATIENCE_S,
) -> Any:
    """Takes effect once, or not at all; what the effect raises is the answer. Who is not answered is told
    `silence` after a while, and knows nothing."""
    world, life = process.world, process.life
    future = process.loop.create_future()

    def settle(found: Any) -> None:
        if future.done():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)

    def arrive() -> None:
        try:
            found = effect()
        except AssertionError:
            raise
        except Exception as error:
            found = error
        if not world.odds(_LOST):
            cuts.through(process.name, thing, lambda: process.in_turn(lambda: settle(found), life), _MEAN_S)

    if not world.odds(_LOST):
        cuts.through(process.name, thing, arrive, _MEAN_S)
    world.after(patience_s, lambda: process.in_turn(lambda: settle(silence()), life))
    return await future
