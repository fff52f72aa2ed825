"""The spans of a worker: of the blocks it processes, and of their flush to Redis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from opentelemetry.trace import SpanKind

from mesh import telemetry
from mesh.tracing.record import SpanRecord


def process(subject: str, blocks: int) -> dict[str, str | int]:
    """Attributes, by the semantic conventions for messaging."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": subject,
        "messaging.batch.message_count": blocks,
    }


@contextlib.asynccontextmanager
async def flush(parent: SpanRecord | None, partition: int, writes: int) -> AsyncIterator[None]:
    """Around a flush: a part of `parent`, or a span after the fact if it was slow or failed. Attributes: the
    semantic conventions for Redis."""
    began_s = time.monotonic()
    error = ""
    try:
        with telemetry.inner_span("EVALSHA flush", SpanKind.CLIENT, parent, _described(partition, writes)):
            yield
    except Exception as raised:
        error = str(raised) or type(raised).__name__
        raise
    finally:
        seconds = time.monotonic() - began_s
        if parent is None and (error or seconds > telemetry.SLOW_S):
            described = _described(partition, writes)
            telemetry.late_span("EVALSHA flush", SpanKind.CLIENT, seconds, described, error)


def _described(partition: int, writes: int) -> dict[str, str | int]:
    return {
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": "flush",
        "db.operation.batch.size": writes,
        "grandstand.partition": partition,
    }
