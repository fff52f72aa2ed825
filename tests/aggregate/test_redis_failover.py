"""I2, I4: Redis fails over behind open connections while votes are folded; what the replica had not yet is
folded again. The connections themselves are in tests/mesh/redis/test_failover.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.games import run
from tests.support.proxy import proxy_to
from tests.support.redis_replicas import SERVICE, valkey_replicas
from tests.support.servers import HOST, Stores, eventually, stores
from tests.support.votes_stream import PARTITIONS, VotesStream, votes_stream

MOVES_WITHIN_S = 20.0
"""Some 3 s on an idle machine."""


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("failover")) as started:
        yield started


async def vote_everywhere(votes: VotesStream) -> None:
    await asyncio.gather(*(votes.vote(p) for p in PARTITIONS))


async def all_are_counted(votes: VotesStream, within_s: float) -> None:
    assert await votes.voters(within_s) == votes.acked


def test_every_vote_counts_once_when_a_lagging_replica_takes_over_and_nothing_is_closed(
    servers: Stores, tmp_path: Path
) -> None:
    async def scenario() -> None:
        with valkey_replicas(tmp_path) as replicas:
            async with proxy_to(replicas.ports[0]) as proxy:
                url = f"redis://{HOST}:{proxy.port}"
                async with votes_stream(servers.nats_url, url) as votes:
                    servers.worker("aggregate-1", url)
                    await vote_everywhere(votes)
                    await all_are_counted(votes, 60.0)
                    replicas.cut(1)
                    await vote_everywhere(votes)
                    await all_are_counted(votes, 60.0)
                    assert proxy.connections
                    assert set(replicas.applied(1).values()).isdisjoint(votes.last.values()), "it lags"
                    proxy.target = replicas.ports[1]
                    replicas.promote(1)
                    await vote_everywhere(votes)
                    await all_are_counted(votes, MOVES_WITHIN_S)
                    assert replicas.role(0) == "slave"
                    await vote_everywhere(votes)
                    await all_are_counted(votes, MOVES_WITHIN_S)

    run(scenario(), within_s=120)


def test_every_vote_counts_once_when_sentinels_name_another_master(servers: Stores, tmp_path: Path) -> None:
    async def scenario() -> None:
        with valkey_replicas(tmp_path, sentinels=1) as replicas:
            (port,) = replicas.sentinel_ports
            url = f"redis+sentinel://{HOST}:{port}/{SERVICE}"
            async with votes_stream(servers.nats_url, url) as votes:
                servers.worker("aggregate-1", url)
                await vote_everywhere(votes)
                await all_are_counted(votes, 60.0)
                replicas.servers[0].kill()
                await vote_everywhere(votes)

                async def is_named() -> bool:
                    return await asyncio.to_thread(replicas.master_by_sentinel, 0) == replicas.ports[1]

                await eventually(is_named, "the Sentinel names the replica")
                await vote_everywhere(votes)
                await all_are_counted(votes, MOVES_WITHIN_S)

    run(scenario(), within_s=120)
