"""Scripts that are run at about the same time share a connection and a write, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis
from redis.exceptions import ResponseError

from mesh.redis.database import Database, Script, connect
from tests.support.games import run
from tests.support.proxy import Proxy, proxy_to
from tests.support.servers import HOST, Stores, eventually, stores

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
REFUSE = Script("return redis.error_reply('NO ' .. KEYS[1])")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("batches")) as started:
        yield started


@asynccontextmanager
async def proxied(servers: Stores) -> AsyncIterator[tuple[Database, Proxy]]:
    async with proxy_to(int(servers.redis_url.rpartition(":")[2])) as proxy:
        database = connect(f"redis://{HOST}:{proxy.port}")
        try:
            yield database, proxy
        finally:
            await database.aclose()


def test_each_of_many_calls_has_its_own_answer_over_few_connections(servers: Stores) -> None:
    async def scenario() -> None:
        async with proxied(servers) as (database, proxy):
            calls = [database.run(REFUSE if n % 7 == 3 else ADD, [f"k{n}"], [n]) for n in range(60)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for n, answer in enumerate(answers):
                if n % 7 == 3:
                    assert isinstance(answer, ResponseError)
                    assert str(answer) == f"NO k{n}"
                else:
                    assert answer == n
            before = proxy.connections
            assert await asyncio.gather(*(database.run(ADD, ["one"], [1]) for _ in range(60)))
            assert proxy.connections <= before + 2, "the looks at who the server is have their own"

    run(scenario())


def test_a_call_that_is_cancelled_takes_nobody_else_with_it(servers: Stores) -> None:
    async def scenario() -> None:
        async with proxied(servers) as (database, _):
            calls = [asyncio.ensure_future(database.run(ADD, ["c"], [1])) for _ in range(9)]
            await asyncio.sleep(0)
            calls[4].cancel()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(answers.pop(4), asyncio.CancelledError)
            assert all(isinstance(answer, int) for answer in answers)

    run(scenario())


def test_each_call_of_a_batch_is_tried_again_when_its_connection_is_reset(servers: Stores) -> None:
    async def scenario() -> None:
        async with proxied(servers) as (database, proxy):
            await database.run(ADD, ["r0"], [1])
            proxy.delay_s = 0.2
            calls = asyncio.gather(*(database.run(ADD, [f"r{n}"], [1]) for n in range(9)))
            await asyncio.sleep(0)  # they are sent
            proxy.reset()
            proxy.delay_s = 0.0
            assert [answer >= 1 for answer in await calls] == [True] * 9

    run(scenario())


def test_each_call_of_a_batch_is_tried_again_when_its_connection_is_closed(servers: Stores) -> None:
    async def scenario() -> None:
        async with proxied(servers) as (database, proxy):
            await database.run(ADD, ["d0"], [1])
            with redis.Redis.from_url(servers.redis_url) as beside:
                beside.client_pause(60_000, all=False)
                calls = asyncio.gather(*(database.run(ADD, [f"d{n}"], [1]) for n in range(9)))
                held: list[str] = []

                async def is_held() -> bool:
                    held[:] = [c["id"] for c in beside.client_list() if "b" in c["flags"]]
                    return bool(held)

                await eventually(is_held, "the first call waits at the server")
                before = proxy.connections
                for client in held:
                    beside.client_kill_filter(_id=client)
                beside.client_unpause()
                assert await calls == [2, *[1] * 8]
                assert proxy.connections > before

    run(scenario())
