"""A Redis that is replaced behind connections that stay open, and Sentinels that say by what.

On real servers; votes that are folded meanwhile are in tests/aggregate/test_redis_failover.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import exceptions

from mesh.redis import failover
from mesh.redis.database import Database, RedisError, Script, connect
from mesh.redis.failover import Look, ServerWatch, parse_info, says_replaced
from tests.support.games import run
from tests.support.proxy import Proxy, proxy_to
from tests.support.redis_replicas import SERVICE, Replicas, sentinel_password, valkey_replicas
from tests.support.servers import HOST, eventually

SET = Script("redis.call('SET', KEYS[1], ARGV[1]) return 1")
WITHIN_S = 15.0
"""Some 3 s on an idle machine."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    try:
        yield database
    finally:
        await database.aclose()


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.ResponseError(
            "Error running script: -READONLY You can't write against a read only slave."
        ),
        exceptions.MasterDownError("Link with MASTER is down"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.ResponseError("UNBLOCKED force unblock, instance state changed (master -> replica?)"),
        exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
        exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
)
def test_these_answers_say_that_the_server_is_replaced(error: Exception) -> None:
    assert says_replaced(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError("FENCED"),
        exceptions.TimeoutError("Timeout reading"),
    ],
)
def test_these_do_not(error: Exception) -> None:
    assert not says_replaced(error)


def test_a_server_is_looked_at_each_second_and_now_and_then_through_its_address() -> None:
    watch = ServerWatch()
    looks = [watch.due(tenth / 10) for tenth in range(100)]
    assert looks.count(Look.NONE) == 90
    assert looks.count(Look.RESOLVED) == 10 // failover.RESOLVE_EVERY


def test_another_role_or_another_server_drops_the_connections() -> None:
    watch = ServerWatch()
    assert not watch.heard(parse_info("# Replication\r\nrole:master\r\nmaster_replid:a\r\n"))
    assert not watch.heard({"role": "master", "master_replid": "a"})
    assert watch.heard({"role": "slave", "master_replid": "a"})
    assert watch.heard({"role": "master", "master_replid": "b"})
    assert not watch.heard({"role": "master", "master_replid": "b"})


@asynccontextmanager
async def behind_a_proxy(folder: Path) -> AsyncIterator[tuple[Replicas, Proxy, Database]]:
    with valkey_replicas(folder) as replicas:
        async with (
            proxy_to(replicas.ports[0]) as proxy,
            connected(f"redis://{HOST}:{proxy.port}") as database,
        ):
            await database.run(SET, ["k"], ["before"])
            yield replicas, proxy, database


def test_a_writer_follows_the_address_though_nothing_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with behind_a_proxy(tmp_path) as (replicas, proxy, database):
            await asyncio.gather(*(database.string("k") for _ in range(16)))
            replicas.promote(1)
            with pytest.raises(RedisError, match="replica"):
                await database.run(SET, ["k"], ["lost"])
            proxy.target = replicas.ports[1]
            await asyncio.gather(*(database.run(SET, ["k"], ["after"]) for _ in range(16)))
            with replicas.client(1) as client:
                assert client.get("k") == b"after"

    run(scenario())


@pytest.mark.parametrize("is_told", [True, False])
def test_a_reader_follows_the_address_though_it_is_refused_nothing(tmp_path: Path, is_told: bool) -> None:
    """`is_told`: the former master that it is one; else it goes on calling itself master."""

    async def scenario() -> None:
        async with behind_a_proxy(tmp_path) as (replicas, proxy, database):
            proxy.target = replicas.ports[1]
            if is_told:
                replicas.promote(1)
                replicas.cut(0)
            else:
                with replicas.client(1) as client:
                    client.replicaof("NO", "ONE")
            with replicas.client(1) as client:
                client.set("k", "after")

            async def reads_it() -> bool:
                return await database.string("k") == b"after"

            await eventually(reads_it, "the reader reads the new master", WITHIN_S)

    run(scenario())


def test_sentinels_name_the_master_and_the_next_one(tmp_path: Path) -> None:
    """One of two Sentinels is away; logins are percent-encoded."""

    async def scenario() -> None:
        password = "p@ss/w"
        with valkey_replicas(tmp_path, sentinels=1, password=password) as replicas:
            url = (
                f"redis+sentinel://:p%40ss%2Fw@{HOST}:1,{HOST}:{replicas.sentinel_ports[0]}/{SERVICE}/0"
                f"?sentinel_password={quote(sentinel_password(password), safe='')}"
            )
            async with connected(url) as database:
                await database.run(SET, ["k"], ["before"])
                assert not await database.is_cluster()
                replicas.servers[0].kill()

                async def writes() -> bool:
                    try:
                        return bool(await database.run(SET, ["k"], ["after"]))
                    except RedisError:
                        return False

                await eventually(writes, "the next master takes writes", 30.0)
                with replicas.client(1) as client:
                    assert client.get("k") == b"after"

    run(scenario())


def test_sentinels_that_do_not_answer_are_named() -> None:
    async def scenario() -> None:
        async with connected(f"redis+sentinel://me:secret@{HOST}:1/{SERVICE}") as database:
            with pytest.raises(RedisError, match=f"names a master of '{SERVICE}' that is up: {HOST}:1$"):
                await database.string("k")

    run(scenario())
