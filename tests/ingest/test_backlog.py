"""What ingest knows of aggregation's lag: heard on a real NATS, forgotten when it is old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from ingest.backlog import Backlog, BacklogWatch
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores

LIFE_S = limits.PARTITION_STATUS_LIFE_S


def test_the_worst_lag_is_the_greatest_of_the_newest() -> None:
    backlog = Backlog(4)
    assert backlog.worst_lag_s(0.0) == 0.0
    backlog.hear(0, 1.5, 0.0)
    backlog.hear(1, 4.0, 0.0)
    assert backlog.worst_lag_s(0.0) == 4.0
    backlog.hear(1, 0.2, 0.5)
    assert backlog.worst_lag_s(0.5) == 1.5
    assert backlog.worst_lag_s(0.5, {1, 2}) == 0.2


def test_what_an_owner_said_long_ago_is_forgotten() -> None:
    backlog = Backlog(4)
    backlog.hear(0, 9.0, 0.0)
    backlog.hear(1, 1.0, 1.0)
    assert backlog.worst_lag_s(LIFE_S) == 9.0
    assert backlog.worst_lag_s(LIFE_S + 0.1) == 1.0
    assert backlog.worst_lag_s(LIFE_S + 1.1) == 0.0


@pytest.mark.parametrize("partition", [-1, 4, 2**31])
def test_a_partition_that_does_not_exist_is_ignored(partition: int) -> None:
    backlog = Backlog(4)
    backlog.hear(partition, 9.0, 0.0)
    assert backlog.worst_lag_s(0.0) == 0.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("backlog")) as started:
        yield started


def test_owners_are_heard_through_nats_garbage_is_not_and_a_restart_of_nats_is_survived(
    servers: Stores,
) -> None:
    async def scenario() -> None:
        bus = await Bus.connect(servers.nats_url, "backlog-test")
        owner = Client()
        await owner.connect(servers.nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0)
        loop = asyncio.get_running_loop()
        try:
            watch = BacklogWatch(bus)
            await watch.start()
            await bus.client.flush()

            async def tell(lag_ms: int, partition: int = 3) -> None:
                status = PartitionStatus(partition=partition, owner="a", lag_blocks=7, lag_ms=lag_ms)
                await owner.publish(subjects.partition_status(partition), status.SerializeToString())

            async def heard(lag_ms: int) -> bool:
                """Told again each time, as owners do: what was heard is forgotten soon."""
                with contextlib.suppress(NatsError, TimeoutError):
                    await tell(lag_ms)
                    await owner.flush(1)
                return watch.worst_lag_s(loop.time()) == lag_ms / 1000

            await eventually(lambda: heard(2_500), "the owner is heard")
            assert watch.worst_lag_s(loop.time(), [0, 1]) == 0.0
            await owner.publish(subjects.partition_status(3), b"\xff\xff\xff no status")
            await tell(9_000, partition=999)
            await eventually(lambda: heard(4_000), "what follows garbage is heard")
            assert watch.worst_lag_s(loop.time() + LIFE_S + 1) == 0.0

            servers.nats.kill()
            servers.nats.start()

            await eventually(lambda: heard(1_250), "the owner is heard after NATS came back")
        finally:
            await owner.close()
            await bus.close()

    run(scenario())
