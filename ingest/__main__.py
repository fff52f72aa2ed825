"""`python -m ingest`: wiring of the ingest service."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from grandstand.ingest.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server
from ingest.publisher import Publisher
from ingest.room import Room, watch
from ingest.service import IngestService
from ingest.votes import CastVotes
from mesh import config, limits, runtime
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.pipeline import PublishPipeline


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    bus = await Bus.connect(process.config.nats, process.config.instance)
    await bus.ensure_events_stream()
    pipeline = PublishPipeline(bus)
    await pipeline.start()
    catalog = CatalogWatch(bus)
    await catalog.start()
    publisher = Publisher(pipeline, CastVotes(bus), uuid.uuid4().hex)
    room = Room()
    watching = asyncio.create_task(watch(room, bus))
    service = IngestService(process, catalog, publisher, room)
    add_IngestServiceServicer_to_server(service, process.server)
    try:
        yield
    finally:
        await publisher.drain()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await catalog.stop()
        await bus.close()


if __name__ == "__main__":
    runtime.run(
        config.parse("ingest"), start, ["grandstand.ingest.v1.IngestService"], limits.INGEST_MESSAGE_BYTES_MAX
    )
