"""`python -m aggregate`: wiring of the aggregation workers, CatalogService and AggregateService."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aggregate.catalog import CatalogWriter, Closer
from aggregate.service import AggregateService, CatalogService
from aggregate.worker import PartitionWorker
from grandstand.aggregate.v1.aggregate_pb2_grpc import add_AggregateServiceServicer_to_server
from grandstand.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from mesh import config, limits, runtime, store
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.pipeline import PublishPipeline


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    bus = await Bus.connect(process.config.nats, process.config.instance)
    await bus.ensure_events_stream()
    pipeline = PublishPipeline(bus)
    await pipeline.start()
    redis = store.connect(process.config.redis)
    watch = CatalogWatch(bus, on_change=lambda *_: closer.wake())
    results = store.ResultStore(redis)
    writer = CatalogWriter(watch, pipeline, results)
    closer = Closer(watch, writer)
    await watch.start()
    workers = [PartitionWorker(bus, store.PartitionStore(redis, p), p) for p in range(limits.PARTITIONS)]
    add_CatalogServiceServicer_to_server(CatalogService(watch, writer), process.server)
    add_AggregateServiceServicer_to_server(AggregateService(watch, results), process.server)
    loops = [asyncio.create_task(worker.run()) for worker in workers]
    loops.append(asyncio.create_task(closer.run()))
    await asyncio.gather(*(worker.owned.wait() for worker in workers))
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await watch.stop()
        await redis.aclose()
        await bus.close()


if __name__ == "__main__":
    runtime.run(
        config.parse("aggregate"),
        start,
        ["grandstand.aggregate.v1.AggregateService", "grandstand.catalog.v1.CatalogService"],
        limits.CONTROL_MESSAGE_BYTES_MAX,
    )
