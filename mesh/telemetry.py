"""Traces: W3C context in gRPC metadata, in batches and in NATS headers; short spans at each hop.

Unary calls are traced by `opentelemetry-instrumentation-grpc`. Streams get spans of our own:
one for each batch, whose parent is the first traced thing it carries and whose links name
the others (a batch has many causes, a span one parent), so the trace of a lone vote is
whole and a storm costs one span a batch. A span as long as a stream would grow without
bound and show only when the stream ends.

Without an OTLP address nothing is set up and every call here costs next to nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

import grpc.aio
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from mesh.config import ServiceConfig

LINKS_MAX = 32

_tracer = trace.get_tracer("grandstand")


def start(config: ServiceConfig) -> None:
    """Exports this process's spans to `config.otlp`; does nothing without one."""
    if config.otlp is None:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    ratio = float(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": config.service,
                "service.namespace": "grandstand",
                "service.instance.id": config.instance,
            }
        ),
        sampler=ParentBased(TraceIdRatioBased(ratio)),
    )
    exporter = OTLPSpanExporter(endpoint=config.otlp, insecure=config.otlp.startswith("http://"), timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)


def stop() -> None:
    """Exports what is left; at most a few seconds."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "shutdown"):
        provider.shutdown()


def is_on() -> bool:
    return hasattr(trace.get_tracer_provider(), "shutdown")


def server_interceptors() -> list[grpc.aio.ServerInterceptor]:
    """For a grpc.aio server: spans for unary calls; streams have their own."""
    if not is_on():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    streams = filters.any_of(
        filters.method_name("Subscribe"),
        filters.method_name("Watch"),
        filters.service_name("grpc.health.v1.Health"),
    )
    return [aio_server_interceptor(filter_=filters.negate(streams))]


def current_traceparent() -> str:
    """The running span's W3C `traceparent`, or "" when there is none."""
    carrier: dict[str, str] = {}
    if is_on():
        inject(carrier)
    return carrier.get("traceparent", "")


def headers() -> dict[str, str]:
    """The running span as NATS headers; a new dict each time, as nats-py wants."""
    carrier: dict[str, str] = {}
    if is_on():
        inject(carrier)
    return carrier


def causes_of(traceparents: Iterable[str]) -> list[Context]:
    """The valid contexts among `traceparents`, without repetition, at most LINKS_MAX."""
    if not is_on():
        return []
    found: list[Context] = []
    for traceparent in dict.fromkeys(traceparents):
        if traceparent and len(found) < LINKS_MAX:
            cause = extract({"traceparent": traceparent})
            if trace.get_current_span(cause).get_span_context().is_valid:
                found.append(cause)
    return found


def cause_in(message_headers: Mapping[str, str] | None) -> str:
    """The traceparent of a NATS message, or ""."""
    return (message_headers or {}).get("traceparent", "")


@contextlib.contextmanager
def batch_span(
    name: str, kind: SpanKind, causes: Iterable[str], attributes: Mapping[str, str | int] | None = None
) -> Iterator[Span]:
    """A span for a batch, child of its first cause and linked to the others.

    A batch without a traced cause gets no span: background work would drown the traces.
    """
    contexts = causes_of(causes)
    if not contexts:
        yield trace.INVALID_SPAN
        return
    links = [Link(_span_context(c)) for c in contexts[1:]]
    with _tracer.start_as_current_span(
        name, context=contexts[0], kind=kind, links=links, attributes=attributes
    ) as span:
        yield span


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Runs its body without the current span, for tasks that outlive the call that started them."""
    token = otel_context.attach(Context())
    try:
        yield
    finally:
        otel_context.detach(token)


def _span_context(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()
