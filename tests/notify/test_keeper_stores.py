"""Inboxes on a Redis that fails over behind open connections, and on a cluster; what is over is purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import notify.scrub
from grandstand.notify.v1.notify_pb2 import Audience
from mesh.jetstream import subjects
from mesh.redis import layout
from tests.support.games import run, until
from tests.support.notices import keeping, notices_on, stored_notice
from tests.support.proxy import proxy_to
from tests.support.redis_replicas import valkey_replicas
from tests.support.servers import HOST, Stores, eventually, stores, valkey_cluster


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setattr("notify.keeper.LEASE_RENEW_S", 0.1)
    with stores(tmp_path_factory.mktemp("stores")) as found:
        yield found


def test_what_a_lagging_replica_lacks_that_takes_over_is_applied_again(
    servers: Stores, tmp_path: Path
) -> None:
    async def scenario() -> None:
        with valkey_replicas(tmp_path) as replicas:
            async with proxy_to(replicas.ports[0]) as proxy:
                url = f"redis://{HOST}:{proxy.port}"
                async with notices_on(servers, redis_url=url) as notices, keeping(servers, redis_url=url):
                    await notices.tell("ann", "one")
                    await notices.until_applied()
                    with replicas.client(1) as replica:
                        key = layout.inbox_key("ann")
                        await until(lambda: replica.hlen(key) == 1, "the replica is in step")
                    replicas.cut(1)
                    await notices.tell("ann", "two")
                    await notices.until_applied()
                    with replicas.client(1) as replica:
                        assert replica.hlen(layout.inbox_key("ann")) == 1, "it lags"
                    proxy.target = replicas.ports[1]
                    replicas.promote(1)
                    await notices.tell("ann", "three")
                    await notices.until_told("ann", "one", "two", "three")

    run(scenario())


def test_on_a_cluster_every_key_is_in_one_slot_of_its_own(servers: Stores, tmp_path: Path) -> None:
    async def scenario() -> None:
        with valkey_cluster(tmp_path) as cluster:
            async with (
                notices_on(servers, redis_url=cluster.url) as notices,
                keeping(servers, redis_url=cluster.url),
            ):
                actor_ids = [f"a{n}" for n in range(100)]
                part = stored_notice(key="list", actor_ids=actor_ids)
                await notices.send(part, subjects.notice_part("aa", 0))
                await notices.send(stored_notice(Audience(everyone=True), "all"))
                for n in range(10):
                    await notices.member("vips", f"a{n}")
                await notices.until_applied()
                inboxes = await notices.store.load(actor_ids)
                assert [len(inbox.own) for inbox in inboxes] == [1] * 100
                assert [bool(inbox.segments) for inbox in inboxes] == [True] * 10 + [False] * 90
                assert len((await notices.store.load_crowds(["everyone"]))["everyone"]) == 1

    run(scenario())


def test_what_is_long_over_is_purged_and_a_redis_that_is_away_is_said(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify.scrub, "SCRUB_PAUSE_S", 0.1)
    monkeypatch.setattr("notify.keeper._SILENT_S", 0.5)

    async def scenario() -> None:
        async with notices_on(servers) as notices:
            old = stored_notice(Audience(actor_id="ann"), "old", sent_s=0, life_s=60)
            await notices.send(old)
            for generation in (1, 2):
                old.generation = generation
                await notices.send(old, subjects.notice_fired("g", "r", "poll/p"))
            kept = await notices.send(stored_notice(sent_s=None, life_s=60))
            async with keeping(servers) as keeper:

                async def messages() -> list[int]:
                    info = await notices.bus.js.stream_info(subjects.NOTICES_STREAM)
                    return [info.state.messages, info.state.last_seq]

                async def is_purged() -> bool:
                    return await messages() == [2, kept]

                await eventually(is_purged, "the last firing and the new notice are left")
                assert not (await notices.inbox("ann")).own
                assert keeper.refusal() is None
                servers.valkey.kill()
                await until(lambda: keeper.refusal() is not None, "that Redis is away is said")
                servers.valkey.start()
                await until(lambda: keeper.refusal() is None, "it is well again")
                await notices.tell("ann", "new")
                await notices.until_told("ann", "new")

    run(scenario())
