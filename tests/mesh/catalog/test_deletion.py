"""Entries that are deleted from the catalog's bucket, on a real nats-server of each version."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Game, Poll
from mesh import limits
from mesh.catalog import freshness, markers
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until
from tests.support.nats_versions import EACH_NATS, nats_version

__all__ = ["nats_version"]

GAME = Game(game_id="g", spread=1).SerializeToString()
POLL = Poll(game_id="g", poll_id="p", stage=STAGE_OPEN).SerializeToString()


async def stored(bus: Bus, key: str) -> int:
    info = await bus.js.stream_info(subjects.CATALOG_STREAM, subjects_filter=f"$KV.catalog.{key}")
    return sum((info.state.subjects or {}).values())


class TestOnEachNats:
    pytestmark = EACH_NATS

    def test_what_is_deleted_is_forgotten_by_all_leaves_the_bucket_and_may_be_put_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(markers, "MARKER_KEPT_S", 0.3)

        async def scenario() -> None:
            async with on_nats(tmp_path) as (_, bus, _):
                heard: list[tuple[str, bool]] = []
                watch = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
                reader = CatalogWatch(
                    bus, lambda key, changed: heard.append((key, changed is not None)), 0.1, puts_back=False
                )
                await asyncio.gather(watch.start(), reader.start())
                first = await watch.bucket.put("game.g", GAME)
                await watch.bucket.put("poll.g.p", POLL)
                await watch.anchored_after(boot_s())
                stale = await watch.bucket.get("game.g")
                newest = await watch.bucket.put("game.g", GAME + GAME)
                assert not await watch.delete("game.g", first), "changed since"
                assert await watch.delete("game.g", newest)
                assert await watch.delete("poll.g.p", watch.view.revision("poll.g.p"))
                assert not list(watch.view.games())
                assert watch.view.opened("g") == ([], [])
                await reader.anchored_after(boot_s())
                assert heard[-2:] == [("game.g", False), ("poll.g.p", False)]
                assert (len(reader.view), len(reader.view.markers)) == (0, 0)

                async def lagging(_: str) -> object:
                    return SimpleNamespace(key="game.g", revision=stale.revision, value=GAME)

                with monkeypatch.context() as patched:
                    patched.setattr(reader.bucket, "get", lagging)
                    await reader.refresh("game.g")
                assert "game.g" not in reader.view, "deleted, whatever a follower says"

                await watch.refresh("game.g")
                marker = watch.view.revision("game.g")
                again = await watch.bucket.update("game.g", GAME, last=marker)
                await until(lambda: not len(watch.view.markers), "markers are purged")
                assert (await stored(bus, "game.g"), await stored(bus, "poll.g.p")) == (1, 0)
                assert watch.view.revision("game.g") == again
                assert await watch.bucket.update("poll.g.p", POLL, last=watch.view.revision("poll.g.p"))
                await watch.stop()
                await reader.stop()

        run(scenario())


def test_a_game_that_is_claimed_again_before_its_marker_came_is_said_to_be_deleted() -> None:
    """The bucket keeps one entry a key: the claim has replaced the marker. Who kept the old definition would
    ack events that count nowhere."""
    heard: list[tuple[str, bool]] = []
    bus: Any = None
    watch = CatalogWatch(bus, lambda key, changed: heard.append((key, changed is not None)))
    watch._loaded.set()
    claim = Game(game_id="g", pending=Game(game_id="g", spread=1)).SerializeToString()
    for revision, value in ((1, GAME), (3, claim), (4, GAME)):
        watch._take("game.g", revision, value, 0.0)
    assert heard == [("game.g", True), ("game.g", False), ("game.g", True)]


def test_what_went_with_its_marker_while_a_watch_was_away_is_forgotten_by_it(tmp_path: Path) -> None:
    """Of a bucket that was cut short it forgets nothing and puts it back."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            away = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await away.start()
            for game_id in ("g", "kept", "lost"):
                await away.bucket.put(
                    subjects.game_key(game_id), Game(game_id=game_id, spread=1).SerializeToString()
                )
            await away.anchored_after(boot_s())
            writer = CatalogWatch(bus)
            await writer.start()

            async def behind_its_back(game_id: str) -> None:
                for each in await bus.js.consumers_info(subjects.CATALOG_STREAM):
                    await bus.js.delete_consumer(subjects.CATALOG_STREAM, each.name)
                key = subjects.game_key(game_id)
                await writer.delete(key, writer.view.revision(key))
                await bus.js.purge_stream(subjects.CATALOG_STREAM, subject=f"$KV.catalog.{key}")
                away._end_watch()

            await behind_its_back("g")
            deleted_s = boot_s()
            await away.anchored_after(deleted_s)
            assert "game.g" not in away.view, "gone before the view is whole again"
            assert "game.kept" in away.view

            real, cut = away._bus.stream_end, [True]

            async def ends_early(stream: str) -> tuple[str, int]:
                identity, end = await real(stream)
                return identity, 1 if len(away._unseen) and cut and cut.pop() else end

            away._bus.stream_end = ends_early  # type: ignore[method-assign]
            await behind_its_back("lost")
            await until(lambda: not cut, "it looks for it", 5 * freshness.SILENCE_S)
            await away.anchored_after(boot_s())
            await away.refresh("game.lost")
            assert await stored(bus, "game.lost") == 1
            await away.stop()
            await writer.stop()

    run(scenario())
