"""What ingest measures: read at a scrape from the counters that its parts keep."""

from __future__ import annotations

import asyncio
from pathlib import Path

from grandstand.wire import bounds as wire_bounds
from ingest.backlog import BacklogWatch
from ingest.log_capacity import LogCapacity
from ingest.publisher import BlockPublisher
from ingest.service import IngestService
from ingest.stream import StreamContext
from mesh import disk
from mesh.jetstream.pipeline import PublishPipeline
from mesh.metrics import declarations as d
from mesh.metrics.registry import MetricRegistry
from mesh.stream_limits import StreamLimits


def collect(
    registry: MetricRegistry,
    service: IngestService,
    context: StreamContext,
    pipeline: PublishPipeline,
    capacity: LogCapacity,
    backlog: BacklogWatch,
    stream_limits: StreamLimits,
    store: Path | None,
) -> None:
    """`store`: the folder of NATS, where it is on this machine."""
    now_s = asyncio.get_running_loop().time
    _collect_blocks(registry, context.publisher, pipeline)
    intake, pressure = context.intake, context.pressure
    most = wire_bounds.VIEWER_CREDIT
    registry.value(d.INGEST_STREAMS, lambda: len(service.streams))
    registry.value(d.INGEST_STREAMS_REFUSED, lambda: stream_limits.refused)
    registry.value(d.INGEST_EVENTS, lambda: intake.received)
    registry.value(d.INGEST_SHED, lambda: intake.shed)
    registry.value(d.INGEST_REJECTED, lambda: context.rejections)
    registry.value(d.INGEST_PRESSURE, lambda: pressure.held)
    registry.value(d.INGEST_CREDIT, lambda: pressure.credit(most) / most)
    registry.value(
        d.INGEST_SHEDDING,
        lambda: {
            "measure": float(pressure.sheds_measures),
            "reaction": float(pressure.sheds_reactions),
            "presence": float(pressure.sheds_reactions),
        },
    )
    registry.value(d.INGEST_BACKLOG, lambda: backlog.worst_lag_s(now_s()))
    registry.value(d.INGEST_LOG_USED, lambda: capacity.used_bytes)
    registry.value(d.INGEST_LOG_MAX, lambda: max(0, capacity.bytes_max))
    registry.value(d.INGEST_DISK_FREE, lambda: disk.room(store).free_bytes if store else None)
    registry.value(d.INGEST_DISK_SIZE, lambda: disk.room(store).size_bytes if store else None)


def _collect_blocks(registry: MetricRegistry, publisher: BlockPublisher, pipeline: PublishPipeline) -> None:
    now_s = asyncio.get_running_loop().time
    registry.value(d.INGEST_STORED, lambda: publisher.stored_events)
    registry.value(d.INGEST_GAME_RATE, lambda: publisher.games.hottest(now_s()))
    registry.value(d.INGEST_BLOCKS, lambda: publisher.stored_blocks)
    registry.value(d.INGEST_ATTEMPTS_FAILED, lambda: publisher.refused_blocks)
    registry.histogram(d.INGEST_PUBLISH, publisher.publish_s)
    registry.histogram(d.INGEST_BLOCK_EVENTS, publisher.block_events)
    registry.value(d.INGEST_STORED_BYTES, lambda: publisher.stored_bytes)
    registry.value(d.INGEST_IN_FLIGHT, lambda: pipeline.in_flight)
    registry.value(d.INGEST_IN_FLIGHT_BYTES, lambda: pipeline.in_flight_bytes)
    registry.value(d.INGEST_WAITING, lambda: pipeline.waiting)
    registry.value(d.INGEST_OLDEST, lambda: pipeline.oldest_age_s(now_s()))
    registry.value(d.INGEST_UNSETTLED, lambda: publisher.unsettled_events)
    registry.value(d.INGEST_UNSETTLED_BYTES, lambda: publisher.unsettled_bytes)
