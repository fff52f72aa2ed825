"""Reads of anybody, with positions that never come: they cost the folding nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import grpc.aio
import pytest
import redis
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from aggregate import bounds
from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, ReadResponse
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.catalog.v1.catalog_pb2 import Game, GetGameRequest
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh.catalog.watch import CatalogWatch
from mesh.redis.database import Database
from mesh.redis.results import ResultStore
from tests.support import blocks
from tests.support.games import run, until
from tests.support.servers import Stores, stores
from tests.support.votes_stream import votes_stream

READS = bounds.READS_WAITING_PER_ADDRESS_MAX + 100
NEVER = 2**62
"""Beyond all sequences: those of a new stream begin at the time, some 2**51."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("reads")) as started:
        yield started


def test_reads_that_wait_for_ever_neither_stop_the_folding_nor_other_readers(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            watch = CatalogWatch(votes.bus)
            await watch.start()
            game = Game(game_id=blocks.GAME, title="g", spread=wire_bounds.PARTITIONS)
            await watch.bucket.put(f"game.{blocks.GAME}", game.SerializeToString())
            await watch.stop()
            worker = servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            async with grpc.aio.insecure_channel(worker.address) as channel:
                read = AggregateServiceStub(channel).Read  # type: ignore[no-untyped-call]

                async def reads(address: str, *positions: Position) -> ReadResponse:
                    request = ReadRequest(game_id=blocks.GAME, positions=positions)
                    metadata = (("x-forwarded-for", address),)
                    found: ReadResponse = await read(request, metadata=metadata, wait_for_ready=True)
                    return found

                await reads("192.0.2.1")
                never = [Position(partition=n % wire_bounds.PARTITIONS, sequence=NEVER) for n in range(READS)]
                attack = [asyncio.create_task(reads("192.0.2.9", position)) for position in never]
                refused: list[asyncio.Task[ReadResponse]] = []

                def some_are_refused() -> bool:
                    refused[:] = [each for each in attack if each.done()]
                    return len(refused) == READS - bounds.READS_WAITING_PER_ADDRESS_MAX

                await until(some_are_refused, "those beyond the bound are refused")
                for _ in range(3):
                    for partition in range(wire_bounds.PARTITIONS):
                        await votes.vote(partition, 20)
                    positions = [Position(partition=p, sequence=s) for p, s in votes.last.items()]
                    response = await reads("192.0.2.1", *positions)
                    assert response.topics[0].tally.voters == votes.acked
                with redis.Redis.from_url(servers.redis_url) as client:
                    assert client.info("clients")["connected_clients"] < 80
                assert not any(each.done() for each in attack if each not in refused), "the others wait yet"
                for each in attack:
                    error = each.exception() if each in refused else None
                    if error is not None:
                        assert isinstance(error, grpc.aio.AioRpcError)
                        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                        trailers = dict(error.trailing_metadata())
                        info = RetryInfo()
                        details = trailers["grpc-status-details-bin"]
                        assert isinstance(details, bytes)
                        assert Status.FromString(details).details[0].Unpack(info)
                        assert info.retry_delay.ToNanoseconds() >= bounds.READ_RETRY_S * 1e9
                    each.cancel()
                await asyncio.wait(attack)
                get = CatalogServiceStub(channel).GetGame  # type: ignore[no-untyped-call]
                found = await asyncio.gather(*(get(GetGameRequest(game_id=blocks.GAME)) for _ in range(100)))
                assert {each.game.title for each in found} == {"g"}

    run(scenario())


class Counted(Database):
    looks = 0

    async def strings(self, keys: Sequence[str]) -> list[bytes]:
        self.looks += 1
        return await super().strings(keys)


def test_all_that_wait_for_any_partitions_share_looks(servers: Stores) -> None:
    async def scenario() -> None:
        apart = f"{servers.redis_url}/1"  # another database than the worker's
        database = Counted(apart)
        results = ResultStore(database)
        with redis.Redis.from_url(apart) as client:
            client.set("{p3}:stream", "played 0")
            client.hset("{p3}:manifest", "!at", "7")
            client.set("{p3}:applied", "7")

            async def wait(number: int) -> int:
                game = next(
                    g for g in (f"g{number}-{n}" for n in range(10_000)) if ids.partition_of(g, "", 1) == 3
                )
                at = Position(partition=3, sequence=8)
                while True:
                    with contextlib.suppress(redis.RedisError):  # a machine that stood still for a while
                        return (await results.read_at_least(game, 1, [at], 20.0))[0].applied

            waiting = [asyncio.create_task(wait(n)) for n in range(200)]
            others = [Position(partition=p, sequence=1) for p in range(3)]
            apart_from_them = asyncio.create_task(results.until_folded(others, 20.0))
            await until(lambda: database.looks >= 10, "they look")
            assert not [each for each in waiting if each.done()]
            client.hset("{p3}:manifest", "!at", "8")
            client.set("{p3}:applied", "8")
            assert set(await asyncio.gather(*waiting)) == {8}
            assert not apart_from_them.done()
            for partition in range(3):
                client.set(f"{{p{partition}}}:applied", "1")
            await apart_from_them
            assert database.looks < 100, "a look is not one waiter's, nor one partition's"
        await database.aclose()

    run(scenario())
