"""The spans of a worker: of the blocks it processes, and of their flush to Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry.trace import SpanKind

from aggregate.partition import Flush
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


@contextlib.contextmanager
def flush(parent: SpanRecord, partition: int, flushed: Flush) -> Iterator[None]:
    """Around a flush, as a part of `parent`."""
    with telemetry.inner_span("EVALSHA flush", SpanKind.CLIENT, parent, _described(partition, flushed)):
        yield


def slow(partition: int, flushed: Flush, seconds: float) -> None:
    """A flush that is not traced took long."""
    telemetry.late_span("EVALSHA flush", SpanKind.CLIENT, seconds, _described(partition, flushed))


def _described(partition: int, flushed: Flush) -> dict[str, str | int]:
    """Attributes, by the semantic conventions for Redis."""
    return {
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": "flush",
        "db.operation.batch.size": len(flushed.writes),
        "grandstand.partition": partition,
    }
