"""The store and the workers on a real cluster of three Valkeys: the same promises as on one."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from aggregate.manifest import tail
from aggregate.partition_store import Acquired, PartitionStore
from grandstand.internal.v1.internal_pb2 import PartitionState
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh.health import proofs
from mesh.redis import layout
from mesh.redis.database import Database, connect
from mesh.redis.errors import Fenced, Rewound
from mesh.redis.layout import Write
from mesh.redis.results import ResultStore
from tests.support.games import new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh, running, wait_for
from tests.support.servers import Cluster, Stores, eventually, stores, valkey_cluster
from tests.support.votes_stream import PARTITIONS, votes_stream


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with valkey_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("nats")) as started:
        yield started


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    database = connect(url)
    try:
        yield database
    finally:
        await database.aclose()


def test_the_partitions_are_spread_over_all_nodes(cluster: Cluster) -> None:
    nodes = set()
    with cluster.node(0) as client:
        for partition in PARTITIONS:
            slot = client.execute_command("CLUSTER", "KEYSLOT", layout.applied_key(partition))
            nodes.add(slot * 3 // 16_384)
    assert nodes == {0, 1, 2}


def test_health_reads_of_every_node_and_tells_one_that_stands_still(cluster: Cluster) -> None:
    async def scenario() -> None:
        async with connected(cluster.url) as database:
            proof = proofs.redis_reads(database)
            await proof.prove()
            cluster.nodes[1].send_signal(signal.SIGSTOP)
            try:
                with pytest.raises((TimeoutError, proofs.Unproven)):
                    await proof.prove()
            finally:
                cluster.nodes[1].send_signal(signal.SIGCONT)

            async def proves() -> bool:
                with contextlib.suppress(TimeoutError, proofs.Unproven):
                    await proof.prove()
                    return True
                return False

            await eventually(proves, "every node is read of again")

    run(scenario())
    wait_for(cluster.is_well, "the cluster is well again")


def test_a_url_of_any_node_is_a_url_of_the_cluster(cluster: Cluster) -> None:
    async def scenario() -> None:
        for port in cluster.ports:
            async with connected(f"redis://127.0.0.1:{port}") as database:
                assert await database.is_cluster()
                for partition in PARTITIONS:
                    assert await database.string(layout.applied_key(partition + 50)) == b""

    run(scenario())


def test_i3_leases_flushes_and_erasing_work_on_every_node(cluster: Cluster) -> None:
    async def scenario() -> None:
        async with connected(cluster.url) as database:
            for partition in (100 + p for p in PARTITIONS):
                one = PartitionStore(database, partition, "one")
                two = PartitionStore(database, partition, "two")
                topics, log = layout.topics_key(partition), layout.log_key(partition, "votes")
                results = layout.results_key(partition, "g")
                assert await one.acquire("t1") == Acquired(0, "")
                assert await two.acquire("t2") is None
                await one.reset("t1", "stream", 0)
                writes = [
                    Write("HSET", topics, ("g/poll/x", b"")),
                    Write("APPEND", log, (b"x" * 100_000,)),
                    Write("HSET", results, ("poll/x", b"")),
                ]
                await one.flush("t1", 0, PartitionState(applied=7), writes)
                assert await one.renew("t1")
                assert await one.log(log) == b"x" * 100_000 + tail(7)
                with pytest.raises(Rewound):
                    await one.flush("t1", 0, PartitionState(applied=8), [])
                with pytest.raises(Fenced):
                    await two.flush("t2", 7, PartitionState(applied=8), [])
                await one.release("t1")
                assert await two.acquire("t2") == Acquired(7, "stream")
                await one.eraser.erase("e")
                with pytest.raises(Fenced):
                    await two.flush("t2", 7, PartitionState(applied=8), [])
                assert await one.hash(topics) == {}
                assert await one.log(log) == b""
                assert await one.acquire("t3") == Acquired(0, "")

    run(scenario())


def test_results_of_a_game_over_several_nodes_are_read_together(cluster: Cluster) -> None:
    async def scenario() -> None:
        async with connected(cluster.url) as database:
            game_id = "spread-out"
            for partition in ids.partitions_of(game_id, wire_bounds.PARTITIONS):
                writer = PartitionStore(database, partition, "one")
                await writer.eraser.erase("e")
                await writer.acquire("t")
                await writer.reset("t", "stream", 0)
                results = layout.results_key(partition, game_id)
                await writer.flush(
                    "t", 0, PartitionState(applied=partition + 1), [Write("HSET", results, ("poll/x", b""))]
                )
                await writer.release("t")
            shares = await ResultStore(database).read(game_id, wire_bounds.PARTITIONS)
            assert {(share.partition, share.applied) for share in shares} == {(p, p + 1) for p in PARTITIONS}
            assert all(set(share.partials) == {"poll/x"} for share in shares)
            for partition in PARTITIONS:
                await PartitionStore(database, partition, "one").eraser.erase("e")

    run(scenario())


def test_i2_workers_on_a_cluster_count_every_vote_once_though_a_master_restarts(
    cluster: Cluster, servers: Stores
) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, cluster.url) as votes:
            workers = [servers.worker(f"aggregate-{n}", cluster.url) for n in (1, 2)]
            await votes.owned_by("aggregate-1", "aggregate-2")
            async with votes.flowing() as gaps:
                cluster.nodes[1].kill()
                cluster.nodes[1].start()
                wait_for_cluster(cluster)
                await gaps.go_on()
                workers[1].kill()
                await votes.owned_by("aggregate-1")
                await gaps.go_on()
            assert await votes.voters() == votes.acked

    run(scenario(), within_s=120)


def test_a_mesh_on_a_cluster_takes_votes_and_shows_them(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def scenario(mesh: RunningMesh) -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=8) as game:
            await game.open_poll()
            async with game.watching("poll/mvp") as viewer:
                positions = [p for n in range(20) for p in await game.send(game.vote(f"fan-{n}"))]
                assert (await game.topic("poll/mvp", positions)).tally.voters == 20
                await until(
                    lambda: votes_of(viewer.states.get("poll/mvp")).get("red") == 20, "the viewer sees all 20"
                )

    # What workers of another stream have left counts until their leases have lapsed.
    for index in range(len(cluster.nodes)):
        with cluster.node(index) as client:
            client.flushall()
    with running(tmp_path_factory.mktemp("mesh"), "--redis", cluster.url, "--aggregate", "2") as mesh:
        assert "valkey" not in {service.name for service in mesh.status().services}
        run(scenario(mesh))


def wait_for_cluster(cluster: Cluster) -> None:
    wait_for(cluster.is_well, "the cluster is well")
