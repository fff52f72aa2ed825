"""I4: Redis that lost its last moments is found out and folded again, also when nothing comes any more.

A failover to a replica that lagged, or an append-only file that was cut short: the lease is still
there, and so is everything up to some moments ago.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM
from mesh.redis import layout
from tests.support import blocks
from tests.support.games import run
from tests.support.partitions import partials_of
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import votes_stream

PARTITION = 3


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("went-back")) as started:
        yield started


def go_back(client: redis.Redis, dumped: dict[bytes, bytes]) -> None:
    """The partition's keys are what they were; its lease stays as it is."""
    with client.pipeline(transaction=True) as step:
        for key in keys_of(client):
            step.delete(key)
        for key, value in dumped.items():
            step.restore(key, 0, value, replace=True)
        step.execute()


def keys_of(client: redis.Redis) -> list[bytes]:
    lease = layout.lease_key(PARTITION).encode()
    return [key for key in client.keys(f"{layout.tag(PARTITION)}:*") if key != lease]


def test_an_idle_partition_is_folded_again_after_redis_went_back(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            await votes.vote(PARTITION)
            assert await votes.voters() == 3
            with redis.Redis.from_url(servers.redis_url) as client:
                dumped = {key: client.dump(key) for key in keys_of(client)}
                last = await votes.vote(PARTITION)
                assert await votes.voters() == 6
                go_back(client, dumped)

            async def caught_up() -> bool:
                return (await votes.applied())[PARTITION] >= last

            await eventually(caught_up, "the partition is folded again")
            assert await votes.voters() == 6
            assert "bug" not in worker.said()

    run(scenario(), within_s=60)


def test_i5_a_topics_sequence_is_a_function_of_the_stream_wherever_flushes_end() -> None:
    """Else a state that is folded again stands behind the cursors of those who saw it before."""

    def fold(flush_after: set[int]) -> dict[str, int]:
        partition, shown = Partition(0, Loaded()), {}
        stream = [blocks.control(blocks.poll()), blocks.control(blocks.board(BOARD_MODE_SUM))]
        stream.append(blocks.block([blocks.vote("ann", "a", blocks.origin(1), 1)]))
        stream += [blocks.block([blocks.score("ann", 1, blocks.origin(1), n)]) for n in (2, 3)]
        for sequence, block in enumerate(stream, start=1):
            partition.fold(sequence, block.SerializeToString())
            if sequence in flush_after and (flush := partition.take_flush()):
                shown.update((partial.topic, partial.sequence) for partial in partials_of(flush))
        return shown

    assert fold({5}) == fold({1, 2, 3, 4, 5}) == fold({4, 5}) == {"poll/mvp": 3, "board/top": 5}
