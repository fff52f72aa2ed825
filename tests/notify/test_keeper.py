"""What is stored in the streams is in inboxes, whatever becomes of the keeper, of NATS and of Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import Audience, Mute, Preferences
from mesh.jetstream import subjects
from mesh.notices import bounds
from mesh.redis import layout
from tests.support.games import run, until
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from tests.support.notices import Pushes, keeping, notices_on, stored_notice
from tests.support.servers import Stores, stores

pytestmark = EACH_NATS


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.keeper.LEASE_RENEW_S", 0.1)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Stores]:
    with stores(tmp_path) as found:
        yield found


def test_what_is_stored_is_in_the_inboxes_of_those_it_is_for_and_pushed(servers: Stores) -> None:
    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers):
            pushes = Pushes()
            await pushes.listen(notices.bus)
            own = await notices.tell("auth0|ann", "own")
            part = stored_notice(key="list", actor_ids=["bob", "auth0|ann"])
            name = subjects.notice_name("g", "list")
            head = await notices.send(stored_notice(key="list"), subjects.notice_sent(name))
            listed = await notices.send(part, subjects.notice_part(name, 0))
            everyone = await notices.send(stored_notice(Audience(everyone=True), "all"))
            viewers = await notices.send(stored_notice(Audience(viewers=True), "viewers"))
            vips = await notices.send(stored_notice(Audience(segment="vips"), "vips"))
            later = stored_notice(Audience(actor_id="bob"), "later", due_in_s=60)
            await notices.send(later)
            due = subjects.notice_due(subjects.notice_name("g", "later"), 1)
            occurrence = await notices.send(stored_notice(Audience(actor_id="bob"), "later"), due)
            await notices.send(StoredNotice(generation=1), subjects.notice_fired("g", "r", "poll/p"))
            fired = await notices.send(
                stored_notice(Audience(actor_id="bob"), "fired"), subjects.notice_fired("g", "r", "poll/p")
            )
            await notices.member("vips", "bob")
            reader = Reader(read_up_to=own, preferences=Preferences(mutes=[Mute(code="x")]))
            marked = await notices.read("bob", reader)
            await notices.until_applied()

            ann, bob = await notices.store.load(["auth0|ann", "bob"])
            assert list(ann.own) == [own, listed]
            assert sorted(bob.own) == [listed, occurrence, fired]
            assert head not in bob.own
            kept = ann.own[listed]
            assert (kept.notice.title, kept.digest, list(kept.actor_ids)) == ("title of list", b"", [])
            assert (bob.reader, bob.reader_sequence, bob.segments) == (reader, marked, {"vips"})
            assert (ann.reader_sequence, ann.segments) == (0, frozenset())
            crowds = await notices.store.load_crowds(["everyone", "game:g", "segment:vips", "segment:none"])
            assert {name: list(found) for name, found in crowds.items()} == {
                "everyone": [everyone],
                "game:g": [viewers],
                "segment:vips": [vips],
                "segment:none": [],
            }
            with redis.Redis.from_url(servers.redis_url) as client:
                assert client.zrange("segments", 0, -1) == [b"vips"]
                assert client.zrange("segment:{vips}", 0, -1) == [b"bob"]
                assert 0 < client.ttl(layout.crowd_key("everyone")) <= 7 * 86_400

            await until(lambda: len(pushes.crowds) == 3, "crowds are told once each")
            assert [(subject, each.sequence) for subject, each in pushes.crowds] == [
                *(("crowd.everyone", everyone), ("crowd.game.g", viewers), ("crowd.segment.vips", vips))
            ]
            bobs = [each for subject, each in pushes.inboxes if subject == subjects.inbox("bob")]
            assert [s for each in bobs for s in each.sequences] == [listed, occurrence, fired]
            assert [each.reader for each in bobs if each.HasField("reader")] == [reader]
            assert any(each.segments for each in bobs)

            await notices.member("vips", "bob", belongs=False)
            await notices.until_applied()
            assert (await notices.inbox("bob")).segments == frozenset()
            with redis.Redis.from_url(servers.redis_url) as client:
                assert not client.exists("segments", "segment:{vips}")

    run(scenario())


def test_what_is_taken_back_is_marked_in_every_inbox_and_stays_so(servers: Stores) -> None:
    async def scenario() -> None:
        async with notices_on(servers) as notices:
            pushes = Pushes()
            async with keeping(servers):
                await notices.send(stored_notice(Audience(everyone=True), "all"))
                name = subjects.notice_name("g", "list")
                for part in range(3):
                    stored = stored_notice(key="list", actor_ids=[f"a{part}", "ann"])
                    await notices.send(stored, subjects.notice_part(name, part))
                await notices.tell("ann", "stays")
                await notices.until_told("ann", "list", "list", "list", "stays")
                await pushes.listen(notices.bus)
                await notices.cancel("g", "list")
                await notices.cancel("g", "all")
                await notices.until_told("ann", "stays")
                await until(lambda: pushes.crowds, "the crowd is told")
                assert pushes.crowds[0][1].stored.cancelled
                # An occurrence that another process published at the same moment.
                await notices.send(
                    stored_notice(Audience(actor_id="ann"), "list"), subjects.notice_due(name, 1)
                )
                await notices.tell("ann", "last")
                await notices.until_told("ann", "stays", "last")
            await asyncio.to_thread(_empty, servers)
            async with keeping(servers, "two"):
                await notices.until_applied()
                assert await notices.titles("ann") == ["title of stays", "title of last"]
                assert await notices.titles("a1") == []
                (crowd,) = (await notices.store.load_crowds(["everyone"])).values()
                assert [each.cancelled for each in crowd.values()] == [True]

    run(scenario())


def test_a_key_that_was_taken_back_may_be_sent_again_when_it_is_kept_no_longer(servers: Stores) -> None:
    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers):
            old_s = time.time() - bounds.KEPT_AFTER_EXPIRY_S - 3_600
            gone = stored_notice(key="again", sent_s=old_s, life_s=60)
            gone.cancelled = True
            name = subjects.notice_name("g", "again")
            await notices.send(gone, subjects.notice_cancelled(name))
            await notices.tell("ann", "again")
            await notices.until_told("ann", "again")

    run(scenario())


def _empty(servers: Stores) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
