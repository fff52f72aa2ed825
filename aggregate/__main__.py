"""`python -m aggregate`: wiring of the aggregation workers, CatalogService and AggregateService."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from aggregate import bounds
from aggregate.catalog import CatalogWriter
from aggregate.closer import Closer
from aggregate.collectors import collect
from aggregate.control_publisher import ControlPublisher
from aggregate.deadletters import DeadLetters
from aggregate.fold_counts import FoldCounts
from aggregate.ownership import NameTaken, Ownership
from aggregate.pace import FlushPace
from aggregate.partition_store import PartitionStore
from aggregate.retention import Checkpoints, Retention
from aggregate.revoking import AccessService
from aggregate.service import AggregateService, CatalogService
from aggregate.status import StatusExchange
from aggregate.support import SupportService
from aggregate.turns import Turns
from aggregate.waiting_reads import WaitingReads
from aggregate.worker import PartitionWorker
from grandstand.access.v1.access_pb2_grpc import add_AccessServiceServicer_to_server
from grandstand.aggregate.v1.aggregate_pb2_grpc import add_AggregateServiceServicer_to_server
from grandstand.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from grandstand.support.v1.support_pb2_grpc import add_SupportServiceServicer_to_server
from grandstand.wire.tasks import end
from mesh import config, limits, runtime
from mesh.addresses import AddressKeys
from mesh.auth import Verifier
from mesh.auth.access import Access
from mesh.auth.service import open_verifier
from mesh.catalog.watch import CatalogWatch
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from mesh.redis.standings import StandingStore
from mesh.token_ends import checking


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    # Before anything is waited for: without keys for its callers' tokens a worker does not start.
    async with open_verifier(process.config, mesh_tokens=True) as verifier, _working(process, verifier):
        yield


@contextlib.asynccontextmanager
async def _working(process: runtime.Runtime, verifier: Verifier) -> AsyncIterator[None]:
    instance = process.config.instance
    bus = await Bus.connect(process.config.nats, instance, process.config.replicas)
    await bus.ensure_events_stream(process.config.events_bytes)
    pipeline = PublishPipeline(bus)
    await pipeline.start()
    database = connect(process.config.redis)
    reading = connect(process.config.redis, bounds.READ_CALLS_MAX)
    letters, checkpoints = DeadLetters(bus), Checkpoints(bus)
    turns, pace, counts, reads = Turns(), FlushPace(), FoldCounts(), WaitingReads(random.random)

    def worker_of(partition: int) -> PartitionWorker:
        stored = PartitionStore(database, partition, instance)
        return PartitionWorker(
            *(bus, stored, letters, checkpoints, partition, turns, watch.clock.now_s, pace, counts)
        )

    watch = CatalogWatch(bus, lambda key, changed: closer.hear(key, changed), limits.VIEW_PROBE_S)
    clock = ClockWatch(bus, process.config, watch)
    ownership = Ownership(bus, instance, worker_of)
    retention = Retention(bus, checkpoints, ownership.owned)
    exchange = StatusExchange(bus, ownership.statuses)
    controls = ControlPublisher(bus, pipeline, ResultStore(database), watch.clock.now_s)
    writer = CatalogWriter(bus, watch, controls, process.config.forget_after_s)
    closer = Closer(watch, writer, process.config.forget_after_s)
    await watch.start()
    await bus.forbid_rollups(subjects.CATALOG_STREAM)
    await asyncio.gather(ownership.start(), exchange.start())
    access = Access(checking(verifier, clock, watch), clock.now_s)
    revoking = AccessService(watch, access, clock.now_s)
    add_AccessServiceServicer_to_server(revoking, process.server)
    add_CatalogServiceServicer_to_server(CatalogService(watch, writer, access), process.server)
    add_AggregateServiceServicer_to_server(
        AggregateService(
            watch,
            ResultStore(reading),
            StandingStore(reading),
            exchange.statuses,
            reads,
            AddressKeys(process.config.trusted_hops, process.config.exempt),
            access,
            clock.now_s,
        ),
        process.server,
    )
    supporting = SupportService(bus, ResultStore(reading), access)
    add_SupportServiceServicer_to_server(supporting, process.server)
    collect(process.metrics, ownership, counts, pace, letters, reads)
    await ownership.settled()
    # From the first signal on, not when the last call has drained: others fold these partitions then.
    leaving = asyncio.create_task(_leave(process.draining, ownership))
    namesake = asyncio.create_task(_end_if_taken(process, ownership))
    loops = [asyncio.create_task(each.run()) for each in (closer, exchange, retention)]
    proven = [
        proofs.nats_echo(bus),
        proofs.catalog(watch, limits.VIEW_PROBE_S),
        proofs.redis_reads(database),
    ]
    try:
        async with clock.open(process), reporting(process, bus, proven, clock=clock):
            yield
    finally:
        process.draining.set()
        await leaving
        taken = namesake.done()
        await end(namesake)
        await end(*loops)
        await watch.stop()
        await reading.aclose()
        await database.aclose()
        await bus.close()
    if taken:
        raise NameTaken("another process that began later has this name now; this one has ended")


async def _end_if_taken(process: runtime.Runtime, ownership: Ownership) -> None:
    await ownership.until_taken()
    process.draining.set()


async def _leave(draining: asyncio.Event, ownership: Ownership) -> None:
    await draining.wait()
    await ownership.stop()


if __name__ == "__main__":
    runtime.run(
        config.parse("aggregate"),
        start,
        [
            "grandstand.aggregate.v1.AggregateService",
            "grandstand.catalog.v1.CatalogService",
            "grandstand.access.v1.AccessService",
            "grandstand.support.v1.SupportService",
        ],
        limits.CONTROL_MESSAGE_BYTES_MAX,
    )
