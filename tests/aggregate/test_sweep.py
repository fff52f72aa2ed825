"""I4: a key of an idle partition that Redis lost is missed within seconds, whatever its kind, and the state
is right again; and why a partition cannot be folded is said.

Bare workers on a real Valkey. What is lost under a flush or before a load is in test_state_loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from nats.aio.msg import Msg

from aggregate import bounds
from aggregate.deadletters import DeadLetters
from aggregate.partition import Partition
from aggregate.partition_health import PartitionHealth
from aggregate.partition_store import PartitionStore
from aggregate.retention import Checkpoints
from aggregate.status import PartitionBoard
from aggregate.turns import Turns
from aggregate.worker import PartitionWorker
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM
from grandstand.wire.errors import TooLate, Unavailable
from mesh import limits
from mesh.jetstream import subjects
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import PARTITIONS, VotesStream, votes_stream

FILLED_WITHIN_S = 60.0
NOTICED_WITHIN_S = 15.0
RIGHT_WITHIN_S = 20.0
"""Some 5 s on an idle machine."""


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("sweep")) as started:
        yield started


KINDS: dict[str, Callable[[int], str]] = {
    "applied": layout.applied_key,
    "stream": layout.stream_key,
    "lease": layout.lease_key,
    "manifest": layout.manifest_key,
    "probe": layout.probe_key,
    "topics": layout.topics_key,
    "results": lambda p: layout.results_key(p, GAME),
    "votes": lambda p: layout.log_key(p, "votes"),
    "origins": lambda p: layout.log_key(p, "origins"),
    "a fold's log": lambda p: layout.part_log_key(p, GAME, "pulse/cheer", ""),
    "standings": lambda p: layout.part_hash_key(p, GAME, "board/top", ""),
    "ranking": lambda p: layout.part_ranking_key(p, GAME, "board/top", ""),
}


async def filled(votes: VotesStream) -> None:
    """Every partition has a key of every kind."""
    numbers = iter(range(1_000_000, 2_000_000))
    for partition in PARTITIONS:
        await votes.put(partition, blocks.game_control(blocks.game()).SerializeToString())
        await votes.put(partition, blocks.control(blocks.board(BOARD_MODE_SUM)).SerializeToString())
        number = next(numbers)
        rows = [
            blocks.score(f"s{number}", 5, blocks.origin(number), 1),
            blocks.reaction("clap", 1, blocks.origin(number), 2),
        ]
        await votes.put(partition, blocks.block(rows).SerializeToString())
        await votes.vote(partition, 2)
    assert await votes.voters(FILLED_WITHIN_S) == votes.acked


def test_a_lost_key_of_each_kind_is_missed_while_nothing_is_written(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await filled(votes)
            with redis.Redis.from_url(servers.redis_url) as client:
                for partition, key_of in zip(PARTITIONS, KINDS.values(), strict=False):
                    assert client.delete(key_of(partition)), key_of(partition)

                async def there_again() -> bool:
                    keys = [key_of(p) for p, key_of in zip(PARTITIONS, KINDS.values(), strict=False)]
                    return await asyncio.to_thread(client.exists, *keys) == len(keys)

                await eventually(there_again, "every key is there again", NOTICED_WITHIN_S)
                assert await votes.voters(RIGHT_WITHIN_S) == votes.acked

    run(scenario(), within_s=120)


def test_a_key_that_went_back_is_missed_while_nothing_is_written(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await filled(votes)
            key = layout.results_key(3, GAME)
            with redis.Redis.from_url(servers.redis_url) as client:
                older = client.dump(key)
                await votes.vote(3, 2)
                assert await votes.voters() == votes.acked
                assert isinstance(older, bytes)
                client.restore(key, 0, older, replace=True)

                async def right_again() -> bool:
                    with contextlib.suppress(TooLate, Unavailable):
                        return await votes.voters(0.2) == votes.acked
                    return False

                await eventually(right_again, "the results are right again", RIGHT_WITHIN_S)

    run(scenario(), within_s=120)


def test_what_was_evicted_is_folded_again_once_there_is_room(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await filled(votes)
            with redis.Redis.from_url(servers.redis_url) as client:
                client.config_set("maxmemory-policy", "allkeys-lru")
                client.config_set("maxmemory", "1")
                await eventually(lambda: asyncio.to_thread(evicted, client), "keys are evicted")
                client.config_set("maxmemory", "0")
            assert await votes.voters(RIGHT_WITHIN_S) == votes.acked

    run(scenario(), within_s=120)


def evicted(client: redis.Redis) -> bool:
    return int(client.info("stats")["evicted_keys"]) > 8


def test_i11_a_redis_that_takes_no_writes_is_said_though_nothing_is_written(servers: Stores) -> None:
    """By every partition, also once its lease is lost and cannot be taken again; and it heals."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await filled(votes)
            board = PartitionBoard()
            loop = asyncio.get_running_loop()

            async def hear(message: Msg) -> None:
                board.hear(PartitionStatus.FromString(message.data), loop.time())

            await votes.bus.client.subscribe(subjects.PARTITION_STATUS_ALL, cb=hear)

            async def all_say(word: str, owned: bool = True) -> bool:
                told = board.statuses(loop.time())
                return all(word in each.problem and bool(each.owner) == owned for each in told)

            async def well() -> bool:
                return all(not each.problem and each.owner for each in board.statuses(loop.time()))

            with redis.Redis.from_url(servers.redis_url) as client:
                await eventually(well, "all is well")
                client.config_set("maxmemory", "1")
                await eventually(lambda: all_say("Redis: out of memory"), "it is said by the owners")
                client.delete(*(layout.lease_key(p) for p in PARTITIONS))
                await eventually(lambda: all_say("Redis: out of memory", owned=False), "nobody owns them")
                client.config_set("maxmemory", "0")
                await eventually(well, "all is well again", NOTICED_WITHIN_S)
                assert await votes.voters(RIGHT_WITHIN_S) == votes.acked

    run(scenario(), within_s=120)


def test_what_is_not_asked_is_not_blamed() -> None:
    health = PartitionHealth()
    health.begin(0.0)
    health.events.proved(1.0)
    health.redis.failed("READONLY", 1.0)
    assert health.problem(1.0) == ""
    assert health.problem(1.0 + bounds.PROVEN_S) == "Redis: READONLY"
    health.redis.proved(9.0)
    assert health.problem(99.0) == ""
    health.events.failed("", 101.0)
    assert health.problem(101.0) == "the event stream: did not answer for 100 s"


def test_a_redis_that_was_emptied_on_purpose_is_called_that(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            await filled(votes)
            said_before = worker.said()
            with redis.Redis.from_url(servers.redis_url) as client:
                client.flushall()
            assert await votes.voters(RIGHT_WITHIN_S) == votes.acked
            said = worker.said().removeprefix(said_before)
            for partition in PARTITIONS:
                assert f"partition {partition}: Redis holds nothing of it (emptied, or new)" in said
            assert '"level": "error"' not in said, said

    run(scenario(), within_s=120)


@pytest.mark.parametrize("is_shared", [True, False])
def test_i3_a_process_keeps_its_leases_while_it_decodes_all_states(
    servers: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_shared: bool
) -> None:
    """Which takes longer than a lease lives. Without turns two hold leases while a third decodes."""
    partitions, decodes_s = (8, limits.LEASE_S / 5) if is_shared else (3, limits.LEASE_S * 1.1)

    class SlowToDecode(Partition):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            time.sleep(decodes_s)
            super().__init__(*arguments, **keywords)

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            turns = Turns()
            workers = [
                PartitionWorker(
                    votes.bus,
                    PartitionStore(votes.database, partition, "one"),
                    DeadLetters(votes.bus),
                    Checkpoints(votes.bus),
                    partition,
                    turns if is_shared else None,
                )
                for partition in range(partitions)
            ]
            tasks = [asyncio.create_task(worker.run()) for worker in workers]
            await asyncio.gather(*(worker.settled.wait() for worker in workers))
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks)

    monkeypatch.setattr("aggregate.worker.Partition", SlowToDecode)
    run(scenario())
    assert is_shared != ("the lease la" in caplog.text or "the lease is lost" in caplog.text), caplog.text


def test_a_partition_without_blocks_has_no_checkpoint_and_loses_nothing_for_it(
    servers: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            stored = PartitionStore(votes.database, 99, "one")
            worker = PartitionWorker(votes.bus, stored, DeadLetters(votes.bus), Checkpoints(votes.bus), 99)
            task = asyncio.create_task(worker.run())
            await worker.settled.wait()
            assert await worker.checkpoint() is None
            assert worker.owns
            worker.stop()
            await task

    run(scenario())
    assert "manifest" not in caplog.text


def test_a_problem_without_an_owner_never_hides_an_owners_figures() -> None:
    board = PartitionBoard(2)
    board.hear(PartitionStatus(partition=1, owner="a", applied=9), 10.0)
    board.hear(PartitionStatus(partition=1, problem="away"), 11.0)
    assert board.statuses(11.0)[1] == PartitionStatus(partition=1, owner="a", applied=9)
    later = 10.0 + limits.PARTITION_STATUS_LIFE_S + 0.1
    board.hear(PartitionStatus(partition=1, problem="away"), later)
    assert board.statuses(later)[1] == PartitionStatus(partition=1, applied=9, problem="away")
    assert board.statuses(later + limits.PARTITION_STATUS_LIFE_S + 0.1)[1].problem == ""
