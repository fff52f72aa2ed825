"""The closer takes steps side by side, and again when they could not be taken."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest

from aggregate import deadlines
from aggregate.catalog import CatalogWriter
from aggregate.closer import Closer
from aggregate.closing import Step
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Poll
from grandstand.wire import tasks
from grandstand.wire.errors import Unavailable
from mesh.catalog.mesh_clock import MeshClock, boot_s
from mesh.catalog.view import CatalogView
from mesh.catalog.watch import CatalogWatch
from tests.support.games import run, until


def watch_with(*polls: Poll) -> CatalogWatch:
    view, clock = CatalogView(), MeshClock()
    for poll in polls:
        view.put(f"poll.g.{poll.poll_id}", 1, poll.SerializeToString())
    clock.sample(boot_s(), boot_s(), time.time())
    return cast(CatalogWatch, SimpleNamespace(view=view, clock=clock))


def due(poll_id: str) -> Poll:
    poll = Poll(game_id="g", poll_id=poll_id, stage=STAGE_OPEN)
    poll.closes_at.FromNanoseconds(time.time_ns() - 10**9)
    return poll


def test_a_step_that_cannot_be_taken_is_tried_again_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis does not answer for one partition, and hangs for another."""
    monkeypatch.setattr(deadlines, "AGAIN_S", 0.01)

    async def scenario() -> None:
        taken: list[str] = []
        attempts = {"away": 0, "faulty": 0}

        async def advance(step: Step) -> None:
            name = cast(Poll, step.definition).poll_id
            if name == "hangs":
                await asyncio.Event().wait()
            if name in attempts:
                attempts[name] += 1
                if attempts[name] <= 3:
                    raise Unavailable("redis is away") if name == "away" else RuntimeError("a fault")
            taken.append(name)

        watch = watch_with(*map(due, ("hangs", "away", "faulty", "well")))
        writer = SimpleNamespace(advance=advance, hear=lambda key, is_gone: None)
        closer = Closer(watch, cast(CatalogWriter, writer))
        running = asyncio.create_task(closer.run())
        await until(lambda: set(taken) == {"away", "faulty", "well"}, "all but the one that hangs are taken")
        assert taken[0] == "well"
        assert attempts == {"away": 4, "faulty": 4}
        closer.hear("poll.game.new", due("new"))
        await until(lambda: "new" in taken, "what is heard of later is taken, too")
        await tasks.end(running)

    run(scenario())
