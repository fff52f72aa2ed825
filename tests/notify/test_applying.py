"""What is applied to Redis comes to the same in any order, and however often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import redis

from grandstand.internal.v1.internal_pb2 import Reader
from grandstand.notify.v1.notify_pb2 import Audience
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import bounds
from mesh.redis import layout
from mesh.redis.database import Database
from notify.applying import Applier
from tests.support.games import run
from tests.support.notices import stored_notice
from tests.support.servers import stores

NO_BUS = cast(Bus, None)
BIG = 1_796_000_000_000_000
"""Sequences are as great as this."""

Message = Callable[[Applier], Awaitable[None]]


def notice(n: int) -> Message:
    audience = Audience(everyone=True) if n % 5 == 0 else None
    stored = stored_notice(audience, f"{n}", actor_ids=[] if audience else ["ann"], life_s=3_600 + n)
    return lambda applier: applier.notice(BIG + n, subjects.notice_sent(f"{n:032x}"), stored)


def reader(n: int) -> Message:
    return lambda applier: applier.reader("ann", BIG + n, Reader(read_up_to=n))


def member(n: int) -> Message:
    name, belongs = f"s{n % 30}", n % 7 > 2
    return lambda applier: applier.segment("ann", name, BIG + n, belongs=belongs)


def state(client: redis.Redis) -> dict[bytes, object]:
    found: dict[bytes, object] = {}
    for key in client.scan_iter():
        found[key] = client.hgetall(key) if client.type(key) == b"hash" else client.zrange(key, 0, -1)
    return found


def test_in_any_order_and_however_often(tmp_path: Path) -> None:
    notices = [notice(n) for n in range(260)]
    readers, members = [reader(n) for n in range(20)], [member(n) for n in range(90)]

    async def scenario() -> None:
        with stores(tmp_path) as servers, redis.Redis.from_url(servers.redis_url) as client:
            database = Database(servers.redis_url)
            applier = Applier(NO_BUS, database)
            await asyncio.gather(*(each(applier) for each in (*notices, *readers, *members)))
            expected = state(client)
            own = cast("dict[bytes, bytes]", expected[layout.inbox_key("ann").encode()])
            assert len(own) == bounds.INBOX_OWN_MAX
            assert min(own) == b"%d" % (BIG + 11)
            life_s = client.ttl(layout.inbox_key("ann"))
            assert 3_600 + 200 < life_s <= 3_600 + 259
            for seed in range(3):
                client.flushall()
                shuffled = [*notices, *readers, *members, *notices[:50], *readers, *members]
                random.Random(seed).shuffle(shuffled)
                await asyncio.gather(*(each(applier) for each in shuffled))
                names = {layout.SEGMENTS.encode(), *(f"segment:{{s{n}}}".encode() for n in range(30))}
                found = state(client)
                assert {k: v for k, v in found.items() if k not in names} == {
                    key: value for key, value in expected.items() if key not in names
                }, f"seed {seed}"
            await database.aclose()

    run(scenario())


def test_an_actor_of_too_many_segments_belongs_to_the_newest_and_what_it_left_goes_first(
    tmp_path: Path,
) -> None:
    most = bounds.SEGMENTS_PER_ACTOR_MAX

    async def scenario() -> None:
        with stores(tmp_path) as servers, redis.Redis.from_url(servers.redis_url) as client:
            database = Database(servers.redis_url)
            applier = Applier(NO_BUS, database)
            for n in range(most + 1):
                await applier.segment("ann", f"s{n}", BIG + n, belongs=n != most // 2)
            held = client.hgetall(layout.reader_key("ann"))
            assert len(held) == most
            assert b"segment:s%d" % (most // 2) not in held
            await applier.segment("ann", "more", BIG + 1_000, belongs=True)
            assert b"segment:s0" not in client.hgetall(layout.reader_key("ann"))
            await database.aclose()

    run(scenario())
