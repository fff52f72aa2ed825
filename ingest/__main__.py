"""`python -m ingest`: wiring of the ingest service."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from ingest.admission import Admission
from ingest.answers import Answers
from ingest.backlog import BacklogWatch
from ingest.check import Checker
from ingest.coalesce import Coalescer
from ingest.intake import Intake, Ticket
from ingest.pressure import Pressure
from ingest.publisher import Publisher
from ingest.room import Room, watch
from ingest.service import IngestService, Verify, add_to_server
from ingest.stream import Desk
from ingest.votes import CastVotes
from mesh import runtime
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.pipeline import PublishPipeline


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime, verify: Verify, admission: Admission) -> AsyncIterator[None]:
    bus = await Bus.connect(process.config.nats, process.config.instance)
    await bus.ensure_events_stream()
    pipeline = PublishPipeline(bus)
    await pipeline.start()
    catalog = CatalogWatch(bus)
    await catalog.start()
    backlog = BacklogWatch(bus)
    await backlog.start()
    checker, coalescer, pressure, room = Checker(catalog.view), Coalescer[Ticket](), Pressure(), Room()
    publisher = Publisher(pipeline, CastVotes(bus), checker, coalescer, uuid.uuid4().hex)
    desk = Desk(Intake(checker, coalescer, admission, pressure), publisher, Answers(), catalog, pressure)
    service = IngestService(process, desk, verify)
    publisher.on_room(service.room_again)
    add_to_server(service, process.server)
    tasks = [
        asyncio.create_task(each)
        for each in (
            watch(room, bus),
            service.look_after_streams(),
            service.look_at_pressure(pressure, publisher, pipeline, room, backlog),
            service.drain(),
        )
    ]
    try:
        yield
    finally:
        await publisher.drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await catalog.stop()
        await bus.close()
