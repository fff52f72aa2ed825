"""What a nats-server has again, of games that were forgotten, after it was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aggregate.closer import Closer
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Poll
from grandstand.wire import tasks
from mesh.catalog import markers
from tests.aggregate.test_game_lives import Folds, Instance, game, poll
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until


def test_what_a_killed_server_brings_back_of_forgotten_games_is_deleted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-io/nats-server#8505: the message that a purged marker had replaced. Nothing is deleted of which no
    tombstone says that its game was forgotten."""
    monkeypatch.setattr(markers, "MARKER_KEPT_S", 0.1)

    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, pipeline):
            only = Instance(bus, pipeline, Folds(bus))
            watch, writer = only.watch, only.writer
            await watch.start()
            values = {}
            for game_id in ("whole", "orphan", "returned"):
                await writer.define_game(game(game_id))
                await writer.open_poll(poll(game_id))
                await writer.lives.end_game(game_id)
                await only.live_on(game_id)
                values[game_id] = watch.view.poll(game_id, "p").SerializeToString()
                await only.forget(game_id)
            await until(lambda: not len(watch.view.markers), "their markers are purged")
            nats.kill()
            nats.start()
            await until(lambda: watch.view.games_known == 3 and watch.is_fresh, "all have come back")
            for game_id in ("orphan", "returned"):
                await watch.delete(f"game.{game_id}", watch.view.revision(f"game.{game_id}"))
            await watch.delete("poll.returned.p", watch.view.revision("poll.returned.p"))
            await writer.define_game(game("returned"))
            await writer.open_poll(poll("returned", "new"))
            await watch.bucket.put("poll.returned.p", values["returned"])
            lost = Poll(game_id="lost", poll_id="p", stage=STAGE_SEALED, generation=1)
            await watch.bucket.put("poll.lost.p", lost.SerializeToString())
            await until(lambda: "poll.lost.p" in watch.view, "the watch has brought it")

            closer = Closer(watch, writer, forget_after_s=0.0)
            watch._on_change = closer.hear
            closing = asyncio.create_task(closer.run())
            kept = {"game.returned", "poll.returned.new", "poll.lost.p"}
            await until(lambda: watch.view.backed() == kept, "all others are deleted")
            await watch.bucket.put("poll.orphan.p", values["orphan"])
            await until(lambda: "poll.orphan.p" in watch.view, "it comes back while the closer runs")
            await until(lambda: watch.view.backed() == kept, "and goes again")
            assert not closer._strays
            await tasks.end(closing)
            await watch.stop()

    run(scenario())
