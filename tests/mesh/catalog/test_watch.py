"""The catalog's watch on a real nats-server: fresh, whole, and replaced when it dies unnoticed."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.wire.errors import Unavailable
from mesh import limits
from mesh.auth import Identity, Revocation
from mesh.catalog import freshness
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until


def game(number: int) -> bytes:
    return Game(game_id="g", title=str(number), spread=1).SerializeToString()


def test_a_view_is_fresh_from_the_start_and_knows_the_servers_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            before_s = boot_s()
            watch = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await watch.start()
            assert watch.is_fresh
            assert watch.freshness.anchor_s >= before_s
            assert abs(watch.clock.now_s() - time.time()) < 0.5
            await watch.bucket.put("game.g", game(1))
            stored_s = boot_s()
            await watch.anchored_after(stored_s)
            assert watch.view.game("g").title == "1", "anchored after it was stored: the view has it"
            await watch.stop()

    run(scenario())


def test_entries_come_in_order_while_many_change_and_probes_lie_between(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            seen: list[int] = []
            watch = CatalogWatch(bus, lambda _, changed: seen.append(int(changed.title)), probe_s=0.01)
            other = CatalogWatch(bus, probe_s=0.01)
            await asyncio.gather(watch.start(), other.start())
            for number in range(300):
                await watch.bucket.put("game.g", game(number))
            await watch.anchored_after(boot_s())
            assert seen[-1] == 299
            assert seen == sorted(set(seen))
            await watch.stop()
            await other.stop()

    run(scenario())


def test_i9_a_watch_that_died_unnoticed_is_replaced_before_its_view_judges_a_vote_again(
    tmp_path: Path,
) -> None:
    """The server has forgotten the consumer (its node is gone): the connection stands and says nothing."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            watch = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await watch.start()
            (consumer,) = await bus.js.consumers_info(f"KV_{subjects.CATALOG_BUCKET}")
            await bus.js.delete_consumer(f"KV_{subjects.CATALOG_BUCKET}", consumer.name)
            deleted_s = boot_s()
            await watch.bucket.put("game.g", game(1))
            await until(lambda: "game.g" in watch.view, "another watch brings it", 5 * freshness.SILENCE_S)
            assert boot_s() - deleted_s < freshness.SILENCE_S + 2 * limits.VIEW_PROBE_S + 1.0
            await watch.anchored_after(deleted_s)
            await watch.stop()

    run(scenario())


def test_a_message_that_was_dropped_on_the_way_is_missed_and_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that is delivered one message goes missing, as from a full queue of the NATS client."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            watch = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await watch.start()
            real = bus.client._process_msg
            dropped = 0

            async def process(sid: int, subject: bytes, reply: bytes, data: bytes, headers: object) -> None:
                nonlocal dropped
                if not dropped and subject.startswith(b"$KV.catalog.game"):
                    dropped += 1
                    return
                await real(sid, subject, reply, data, headers)

            monkeypatch.setattr(bus.client, "_process_msg", process)
            stored_s = boot_s()
            await watch.bucket.put("game.g", game(1))
            await watch.anchored_after(stored_s)
            assert dropped == 1
            assert watch.view.game("g").title == "1"
            await watch.stop()

    run(scenario())


def test_what_cannot_be_asked_for_is_not_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, _):
            watch = CatalogWatch(bus)
            await watch.start()
            await watch.bucket.put("game.g", game(1))
            await until(lambda: "game.g" in watch.view, "the watch brings it")
            monkeypatch.setattr(limits, "CATALOG_REFRESH_S", 0.1)
            await nats.stop()
            try:
                for refresh in (watch.refresh, watch.refresh_shared):
                    with pytest.raises(Unavailable, match=r"within 0.1 s whether it has 'game.h'; try again"):
                        await refresh("game.h")
                    await refresh("game.g")
            finally:
                nats.process.send_signal(signal.SIGCONT)
            await watch.stop()

    run(scenario())


def test_a_watch_that_has_begun_anew_is_told_what_is_there_by_the_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost an entry on its way, and has not brought it again yet, though it knows newer ones."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            watch = CatalogWatch(bus, probe_s=60)
            await watch.start()
            with monkeypatch.context() as patched:
                patched.setattr(watch, "_take", lambda *_: None)
                at = await watch.bucket.put("game.g", game(1))
                await until(lambda: watch._newest >= at, "it was delivered")
            watch.freshness.watch_began()
            await watch.refresh("game.g")
            assert watch.view.game("g").title == "1"
            await watch.stop()

    run(scenario())


def test_i11_definitions_that_the_bucket_lost_are_put_back_and_can_change_again(tmp_path: Path) -> None:
    """Its stream is deleted: a process that starts then knows every game, and a change counts."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            heard: list[str] = []
            watch = CatalogWatch(bus, lambda key, _: heard.append(key), probe_s=limits.VIEW_PROBE_S)
            other = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await asyncio.gather(watch.start(), other.start())
            for number in range(5):
                await watch.bucket.put("game.g", game(number))
            revocation = Revocation("eve", "", 100.0, 200.0, 50.0).encoded().SerializeToString()
            await watch.bucket.put("revoked.3", revocation)
            await watch.anchored_after(boot_s())
            await other.anchored_after(boot_s())
            heard.clear()
            await bus.js.delete_stream(f"KV_{subjects.CATALOG_BUCKET}")
            await until(
                lambda: 0 < watch.view.revision("game.g") < 5, "it is put back", 5 * freshness.SILENCE_S
            )
            assert not heard, "nothing has changed"
            newcomer = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
            await newcomer.start()
            assert newcomer.view.game("g").title == "4"
            eve = Identity("eve", False, None, 150.0)
            assert newcomer.revocations.covering(eve, 60.0) is not None, "revoked before it serves"
            await newcomer.bucket.update("game.g", game(5), last=newcomer.view.revision("game.g"))
            for each in (watch, other, newcomer):
                await each.anchored_after(boot_s())
                assert each.view.game("g").title == "5"
                await each.stop()

    run(scenario())
