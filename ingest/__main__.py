"""`python -m ingest`: wiring of the ingest service."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

from grandstand.wire import bounds as wire_bounds
from grandstand.wire import tasks
from ingest import bounds
from ingest.admission import ACTOR_RATE, GAME_RATE, INSTANCE_RATE, PRODUCER_RATE, Admission
from ingest.backlog import BacklogWatch
from ingest.buckets import Rate
from ingest.check import Checker
from ingest.coalesce import Coalescer
from ingest.collectors import collect
from ingest.intake import Intake, Ticket
from ingest.log_capacity import LogCapacity, watch_capacity
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.recent_refusals import RecentRefusals
from ingest.refusal_answers import answering
from ingest.response_scheduler import ResponseScheduler
from ingest.service import PUBLISH, SERVICE, STREAM_BOUNDS, IngestService
from ingest.stream import StreamContext
from ingest.votes import CastVotes
from mesh import disk, limits, runtime
from mesh.addresses import AddressKeys
from mesh.auth.service import open_origins, open_verifier
from mesh.catalog.watch import CatalogWatch
from mesh.config import ServiceConfig, parse
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.proofs import Proof
from mesh.health.reporter import reporting
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from mesh.listener import Http2Listener
from mesh.stream_limits import StreamLimits
from mesh.token_ends import checking, keep_ending

FULL_S = 0.5
"""A log that is full is full at once, and one that just let go of blocks has room."""


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    config = process.config
    async with open_verifier(config, mesh_tokens=True) as verifier, open_origins(config) as origins:
        bus = await Bus.connect(config.nats, config.instance, config.replicas)
        await bus.await_events_stream()
        pipeline = PublishPipeline(bus, store=config.nats_store)
        await pipeline.start()
        catalog = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S, puts_back=False)
        clock = ClockWatch(bus, config, catalog)
        await catalog.start()
        backlog = BacklogWatch(bus)
        await backlog.start()
        refusals = RecentRefusals(clock.now_s)
        message_ids = subjects.message_ids(config.instance, uuid.uuid4().hex)
        checker, coalescer, pressure, capacity = (
            Checker(catalog.view),
            Coalescer[Ticket](),
            Pressure(),
            LogCapacity(),
        )
        publisher = BlockPublisher(
            *(pipeline, CastVotes(bus, refusals), checker, coalescer, pressure, message_ids, catalog),
            refusals=refusals,
        )
        intake = Intake(checker, coalescer, admission_of(config), pressure, refusals)
        loop = asyncio.get_running_loop()
        context = StreamContext(intake, publisher, ResponseScheduler(), catalog, pressure, origins, loop)
        stream_limits = stream_limits_of(config)
        service = IngestService(
            *(process, context, checking(verifier, clock, catalog).verify, stream_limits),
            AddressKeys(config.trusted_hops, config.exempt),
            config.streams_producer or bounds.STREAMS_PER_PRODUCER_MAX,
            now=clock.now_s,
            revocations=catalog.revocations,
        )
        publisher.on_room(service.resume_streams)
        collect(process.metrics, service, context, pipeline, capacity, backlog, stream_limits)
        process.methods[PUBLISH] = service.accept
        running = [
            asyncio.create_task(each)
            for each in (
                watch_capacity(capacity, bus),
                service.look_after_streams(),
                keep_ending(service.tokens, clock.least_s),
                service.look_at_pressure(publisher, pipeline, capacity, backlog),
                service.drain(),
            )
        ]
        try:
            proven = proofs_of(config, bus, catalog, publisher, capacity)
            async with (
                clock.open(process),
                reporting(process, bus, proven, clock=clock),
                answering(bus, refusals, config.instance),
            ):
                yield
        finally:
            await publisher.drain()
            for task in running:
                await tasks.end(task)
            await pipeline.close()
            await catalog.stop()
            await bus.close()


def proofs_of(
    config: ServiceConfig, bus: Bus, catalog: CatalogWatch, publisher: BlockPublisher, capacity: LogCapacity
) -> list[Proof]:
    """That votes can be stored. The event stream may have another leader than that of the probes, so that its
    own blocks are stored is looked at, too."""
    stored_blocks = -1

    def held_up() -> str | None:
        nonlocal stored_blocks
        last, stored_blocks = stored_blocks, publisher.stored_blocks
        return publisher.refusal if publisher.unsettled_events and last == stored_blocks else None

    def full() -> str | None:
        refusal = capacity.refusal()
        return refusal.message if refusal else None

    return [
        proofs.event_log(bus, config.service, config.instance, lambda: publisher.stored_blocks),
        proofs.looked_at("blocks", proofs.BOUND_S, held_up),
        proofs.looked_at("room", FULL_S, full, proofs.BOUND_S),
        proofs.looked_at(
            "disk", FULL_S, lambda: disk.problem_word(config.nats_store) or None, proofs.BOUND_S
        ),
        proofs.catalog(catalog, limits.VIEW_PROBE_S),
    ]


def admission_of(config: ServiceConfig) -> Admission:
    """The rates that the process was told, and those of mesh.limits for the others."""
    return Admission(
        Rate(*(config.admit_actor or ACTOR_RATE)),
        Rate(*(config.admit_game or GAME_RATE)),
        Rate(*(config.admit_instance or INSTANCE_RATE)),
        Rate(*(config.admit_producer or PRODUCER_RATE)),
    )


def stream_limits_of(config: ServiceConfig) -> StreamLimits:
    """The bounds that the process was told, and those of ingest.bounds for the others."""
    found = replace(
        STREAM_BOUNDS,
        per_actor_max=config.streams_actor or STREAM_BOUNDS.per_actor_max,
        per_address_max=config.streams_address or STREAM_BOUNDS.per_address_max,
    )
    return StreamLimits(found, random=random.random)


if __name__ == "__main__":
    runtime.run(
        parse("ingest"), start, [SERVICE.full_name], wire_bounds.INGEST_MESSAGE_BYTES_MAX, Http2Listener
    )
