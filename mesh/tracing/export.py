"""Spans on their way to a collector, by OTLP over gRPC, in a thread of its own.

A collector that is away, hangs or answers nonsense costs its spans and nothing else: the queue holds
QUEUE_MAX, an attempt ends after EXPORT_S, and the end of the process waits STOP_S at most. That it takes
nothing is logged once, and once that it takes spans again. A collector that says it took spans and dropped
them cannot be told from a good one.

OpenTelemetry's exporter logs each failure of each attempt; those lines are held back, and the last one is the
reason given in ours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Status, StatusCode

from mesh.tracing.record import SpanRecord, TraceContext, span_context

log = logging.getLogger(__name__)

QUEUE_MAX = 2_048
BATCH_MAX = 512
EXPORT_S = 5.0
EVERY_S = 0.5
STOP_S = 2.0
_NOISY = ("opentelemetry.exporter", "opentelemetry.sdk")
_TELLS_WHY = "opentelemetry.exporter.otlp.proto.grpc.exporter"


class SpanExport:
    """Of one process, to the collector at `otlp`. `provider` is for spans of the SDK, of which it samples
    `share`."""

    def __init__(self, otlp: str, service: str, instance: str, share: float = 1.0) -> None:
        self._resource = Resource.create(
            {"service.name": service, "service.namespace": "grandstand", "service.instance.id": instance}
        )
        self.provider = TracerProvider(
            resource=self._resource, sampler=ParentBased(TraceIdRatioBased(share)), shutdown_on_exit=False
        )
        inner = OTLPSpanExporter(endpoint=otlp, insecure=otlp.startswith("http://"), timeout=EXPORT_S)
        self._exporter = TellingExporter(inner, otlp)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=QUEUE_MAX,
            max_export_batch_size=BATCH_MAX,
            schedule_delay_millis=EVERY_S * 1000,
        )
        self.provider.add_span_processor(self._processor)

    @property
    def failures(self) -> int:
        """Attempts that failed, since the start."""
        return self._exporter.failures

    def add(self, span: SpanRecord) -> None:
        self._processor.on_end(self._readable(span))

    def _readable(self, span: SpanRecord) -> ReadableSpan:
        parent = TraceContext(span.trace_id, span.parent_id, is_sampled=True) if span.parent_id else None
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span_context(parent) if parent else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(name, timestamp=at_ns) for name, at_ns in span.events],
            links=[Link(span_context(link)) for link in span.links],
            kind=span.kind,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.started_ns,
            end_time=span.ended_ns,
        )

    def stop(self) -> None:
        """Exports what is left, for STOP_S at most."""
        ending = threading.Thread(target=self.provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(STOP_S)
        if ending.is_alive():
            # Its call is cut off: else the end of the process waits for it.
            self._exporter.shutdown()
            ending.join(STOP_S)


class TellingExporter(SpanExporter):
    """Says once that the collector takes nothing, and once that it does again."""

    def __init__(self, inner: SpanExporter, address: str) -> None:
        self._inner = inner
        self._address = address
        self._reasons = _LastError()
        self._lost = 0
        self.failures = 0
        for name in _NOISY:
            noisy = logging.getLogger(name)
            noisy.handlers, noisy.propagate = [self._reasons], False
        # It leaves out what it said a moment ago, of another exporter too.
        logging.getLogger(_TELLS_WHY).filters.clear()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception as error:
            result, self._reasons.last = SpanExportResult.FAILURE, repr(error)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning(
                    "the collector at %s takes no spans, which are dropped until it does: %s",
                    *(self._address, self._reasons.last or "no reason given"),
                )
            self._lost += len(spans)
            self.failures += 1
        elif self._lost:
            log.warning("the collector at %s takes spans again; %d were dropped", self._address, self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _LastError(logging.Handler):
    """Keeps what OpenTelemetry said last of a failure, and prints nothing."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()[:300]
