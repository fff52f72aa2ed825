"""I4, I11: inboxes are what the streams say, whoever died or froze where, and whatever Redis lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

import notify.scrub
from grandstand.internal.v1.internal_pb2 import Reader
from grandstand.notify.v1.notify_pb2 import Audience
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import bounds
from mesh.redis import layout
from mesh.redis.database import Argument, Database, Script
from notify import inbox_scripts
from tests.support.games import run, until
from tests.support.nats_versions import nats_version, on_each_nats  # noqa: F401
from tests.support.notices import Notices, Pushes, keeping, notices_on, stored_notice
from tests.support.servers import Stores, eventually, stores

READER = Reader(read_up_to=7)
STEPS = 9
"""Calls of Redis that a keeper makes for a story."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Stores]:
    with stores(tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify.keeper.LEASE_RENEW_S", 0.1)


@pytest.fixture
def client(servers: Stores) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.redis_url) as found:
        yield found


class Freezes(Database):
    """Stands still before a call, from the moment that it is told to, until it is thawed."""

    calls_left: int | None = None
    is_after = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.frozen, self.thawed = asyncio.Event(), asyncio.Event()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        if self.frozen.is_set():
            await self.thawed.wait()
        elif self.calls_left is not None and script is not inbox_scripts.LEASE:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.frozen.set()
                if self.is_after:
                    await super().run(script, keys, arguments)
                await self.thawed.wait()
        return await super().run(script, keys, arguments)


async def story(notices: Notices, actor: str) -> None:
    """A little of everything for an actor."""
    await notices.tell(actor, f"{actor}-1")
    name = subjects.notice_name("g", f"{actor}-list")
    part = stored_notice(key=f"{actor}-list", actor_ids=[actor, "zoe"])
    await notices.send(part, subjects.notice_part(name, 0))
    await notices.read(actor, READER)
    await notices.member("vips", actor)
    await notices.tell(actor, f"{actor}-2")


async def ends_well(notices: Notices, actor: str) -> None:
    await notices.until_told(actor, f"{actor}-1", f"{actor}-list", f"{actor}-2")
    await notices.until_applied()

    async def is_marked() -> bool:
        inbox = await notices.inbox(actor)
        return (inbox.reader, inbox.segments) == (READER, {"vips"})

    await eventually(is_marked, f"{actor} has its marks")


def test_a_keeper_that_freezes_at_any_step_is_replaced_and_does_no_harm_when_it_thaws(
    servers: Stores, client: redis.Redis
) -> None:
    """Before each call of Redis, and after it. Leases are taken at once, as if their time were over."""

    async def scenario() -> None:
        async with notices_on(servers) as notices, contextlib.AsyncExitStack() as stack:
            frozen: list[Freezes] = []

            def freezing(url: str) -> Database:
                frozen.append(Freezes(url))
                return frozen[-1]

            for step in range(2 * STEPS):
                await stack.enter_async_context(keeping(servers, f"{step}", made=freezing))
                if step:
                    await ends_well(notices, f"a{step - 1}")
                frozen[-1].calls_left, frozen[-1].is_after = step // 2, bool(step % 2)
                await story(notices, f"a{step}")
                await asyncio.wait_for(frozen[-1].frozen.wait(), 10)
                client.delete(layout.NOTICES_LEASE)
            await stack.enter_async_context(keeping(servers, "last"))
            await ends_well(notices, f"a{2 * STEPS - 1}")
            await notices.cancel("g", "a3-1")
            await notices.member("vips", "a3", belongs=False)
            await notices.read("a3", Reader(read_up_to=9))
            await notices.until_applied()
            for database in frozen:
                database.thawed.set()
            await notices.tell("a3", "end")
            await notices.until_told("a3", "a3-list", "a3-2", "end")
            inbox = await notices.inbox("a3")
            assert (inbox.reader.read_up_to, inbox.segments) == (9, frozenset())
            assert len(await notices.titles("zoe")) == 2 * STEPS

    run(scenario())


def test_what_was_purged_at_the_end_of_a_stream_counts_as_applied_when_all_is_applied_again(
    servers: Stores, client: redis.Redis
) -> None:
    """Else nobody would be answered until something is stored behind it."""

    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers):
            await notices.member("vips", "ann")
            await notices.member("vips", "bob")
            await notices.until_applied()
            subject = subjects.segment_member("vips", "bob")
            await notices.bus.js.purge_stream(subjects.SEGMENTS_STREAM, subject=subject)
            client.flushall()
            await notices.until_applied()
            assert (await notices.inbox("ann")).segments == {"vips"}

    run(scenario())


def test_two_that_believe_to_have_the_lease_do_no_harm(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def held(_: object) -> bool:
        return True

    monkeypatch.setattr("notify.keeper.Keeper._take_lease", held)

    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers, "one"), keeping(servers, "two"):
            for n in range(5):
                await story(notices, f"a{n}")
            for n in range(5):
                await ends_well(notices, f"a{n}")
            assert len((await notices.inbox("zoe")).own) == 5

    run(scenario())


def test_a_redis_that_was_emptied_or_went_back_or_lost_a_key_has_all_again(
    servers: Stores, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify.scrub, "SCRUB_PAUSE_S", 0.1)

    def emptied(_: dict[bytes, bytes]) -> None:
        client.flushall()

    def went_back(older: dict[bytes, bytes]) -> None:
        client.flushall()
        for key, value in older.items():
            client.restore(key, 0, value)

    def lost_keys(_: dict[bytes, bytes]) -> None:
        client.delete(layout.inbox_key("ann"), layout.reader_key("ann"), layout.crowd_key("everyone"))
        client.delete("segment:{vips}", "segments")
        client.set(layout.inbox_key("zoe"), "of another type")

    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers):
            await notices.tell("ann", "before")
            await notices.until_applied()
            older = {key: client.dump(key) for key in client.scan_iter()}
            everyone = await notices.send(stored_notice(Audience(everyone=True), "all"))
            await story(notices, "ann")
            await notices.cancel("g", "before")
            await ends_well(notices, "ann")
            for strike in (emptied, went_back, lost_keys):
                await asyncio.to_thread(strike, older)
                await ends_well(notices, "ann")
                await notices.until_told("zoe", "ann-list")
                await eventually(lambda: all_there(notices, everyone), "the crowd has its notice")
                await eventually(lambda: listed(client), "the segment is listed")

    async def all_there(notices: Notices, everyone: int) -> bool:
        return list((await notices.store.load_crowds(["everyone"]))["everyone"]) == [everyone]

    async def listed(client: redis.Redis) -> bool:
        names, members = client.zrange("segments", 0, -1), client.zrange("segment:{vips}", 0, -1)
        return (names, members) == ([b"vips"], [b"ann"])

    run(scenario())


@on_each_nats
def test_nats_that_restarts_and_streams_that_are_made_anew_are_followed(servers: Stores) -> None:
    async def scenario() -> None:
        async with notices_on(servers) as notices, keeping(servers):
            first = await notices.tell("ann", "one")
            await notices.until_told("ann", "one")
            await asyncio.to_thread(_restart, servers)
            await until(lambda: notices.bus.client.is_connected, "NATS is back")
            await notices.tell("ann", "two")
            await notices.until_told("ann", "one", "two")
            for stream in ("NOTICES", "READERS", "SEGMENTS"):
                await notices.bus.js.delete_stream(stream)

            async def remade() -> bool:
                infos = [await notices.bus.js.stream_info(s) for s in ("NOTICES", "READERS", "SEGMENTS")]
                return all(info.config.subjects for info in infos)

            await eventually(lambda: _not_yet(remade()), "the keeper makes the streams again", 20)
            third = await notices.tell("ann", "three")
            assert third > first + 1_000, "its sequence is beyond all of the stream before"
            await notices.read("ann", READER)
            await notices.until_told("ann", "one", "two", "three")
            await notices.until_applied()
            assert (await notices.inbox("ann")).reader == READER

    run(scenario())


async def _not_yet(look: Any) -> bool:
    with contextlib.suppress(Exception):
        return bool(await look)
    return False


def _restart(servers: Stores) -> None:
    servers.nats.kill()
    servers.nats.start()


def test_nobody_waits_for_a_long_list_and_a_keeper_that_ends_in_its_midst_goes_on_there(
    servers: Stores, client: redis.Redis
) -> None:
    parts = 40

    async def scenario() -> None:
        async with notices_on(servers) as notices:
            pushes = Pushes()
            await pushes.listen(notices.bus)
            for part in range(parts):
                actor_ids = [f"list-{part}-{n}" for n in range(bounds.PART_ACTORS_MAX)]
                message = stored_notice(key="list", actor_ids=actor_ids).SerializeToString()
                await notices.bus.client.publish(subjects.notice_part("aa", part), message)
            await notices.tell("bob", "small")
            async with keeping(servers):
                await until(lambda: subjects.inbox("bob") in {s for s, _ in pushes.inboxes}, "bob is told")
                assert len(pushes.inboxes) < parts * bounds.PART_ACTORS_MAX / 2
            async with keeping(servers, "two"):
                await notices.until_applied()
            assert client.dbsize() >= parts * bounds.PART_ACTORS_MAX + 1

    run(scenario())


def test_an_inbox_of_ten_thousand_notices_shows_the_newest_and_holds_nobody_up(
    servers: Stores, client: redis.Redis
) -> None:
    async def scenario() -> None:
        async with notices_on(servers) as notices:
            await fill(notices.bus, 10_000)
            async with keeping(servers):
                await notices.until_applied()
                own = (await notices.inbox("ann")).own
                assert len(own) == client.hlen(layout.inbox_key("ann")) == bounds.INBOX_OWN_MAX
                kept = [own[sequence].notice.key for sequence in sorted(own)]
                assert kept == [f"{n}" for n in range(10_000 - bounds.INBOX_OWN_MAX, 10_000)]
                pushes = Pushes()
                await pushes.listen(notices.bus)
                await notices.tell("bob", "hello")
                await until(lambda: pushes.inboxes, "another's is told")

    async def fill(bus: Bus, count: int) -> None:
        _, end = await bus.stream_end(subjects.NOTICES_STREAM)
        for n in range(count):
            stored = stored_notice(Audience(actor_id="ann"), str(n))
            await bus.client.publish(subjects.notice_sent(f"{n:032x}"), stored.SerializeToString())

        async def stored_all() -> bool:
            return (await bus.stream_end(subjects.NOTICES_STREAM))[1] >= end + count

        await eventually(stored_all, "all are stored")

    run(scenario())
