"""Traces: W3C context in gRPC metadata, in batches and in NATS headers; short spans at each hop.

Unary calls on grpc.aio are traced by `opentelemetry-instrumentation-grpc`, those on our own engine by
`server_span`, in the same way. Streams get spans of our own: one for each batch, whose parent is the first
traced thing it carries and whose links name the others (a batch has many causes, a span one parent), so the
trace of a lone vote is whole and a storm costs one span a batch. A span as long as a stream would grow
without bound and show only when the stream ends.

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
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode

from grandstand.wire.errors import GrandstandError
from mesh.config import ServiceConfig
from mesh.http2.call import Metadata
from mesh.http2.errors import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UNIMPLEMENTED
from mesh.http2.unary import Answer

LINKS_MAX = 32

_UNKNOWN, _DATA_LOSS = 2, 15
# Of a server's span; other codes are the client's own doing (semantic conventions for gRPC).
_SERVER_ERRORS = frozenset((_UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, _DATA_LOSS))

_tracer = trace.get_tracer("grandstand")
_exports = False
"""Whether `start` has set up an exporter. Asking OpenTelemetry costs 2 µs, and each block asks."""


def start(config: ServiceConfig) -> None:
    """Exports this process's spans to `config.otlp`; does nothing without one."""
    global _exports
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
    _exports = True


def stop() -> None:
    """Exports what is left; at most a few seconds."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "shutdown"):
        provider.shutdown()


def is_on() -> bool:
    return _exports


def server_interceptors() -> list[grpc.aio.ServerInterceptor]:
    """For a grpc.aio server: spans for unary calls; streams have their own."""
    if not is_on():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    streams = filters.any_of(
        filters.method_name("Watch"),
        filters.service_name("grpc.health.v1.Health"),
    )
    return [aio_server_interceptor(filter_=filters.negate(streams))]


def server_span(path: str, metadata: Iterable[tuple[str, str]]) -> Span | None:
    """The span of a unary call on our own engine, child of the caller's that `metadata` names; None while
    traces are off. It is not made the running one: many calls are under way at once. Hand it to
    `end_server_span`. Attributes: the semantic conventions for gRPC."""
    if not is_on():
        return None
    found = dict(metadata)
    service, _, method = path[1:].partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    if "user-agent" in found:
        attributes["rpc.user_agent"] = found["user-agent"]
    return _tracer.start_span(path, context=extract(found), kind=SpanKind.SERVER, attributes=attributes)


def end_server_span(span: Span | None, code: int = 0, message: str = "") -> None:
    """`code`: the gRPC status that the call ended with. An error of the server's makes the span one."""
    if span is not None:
        span.set_attribute("rpc.grpc.status_code", code)
        if code in _SERVER_ERRORS:
            span.set_status(StatusCode.ERROR, message)
        span.end()


def traced(path: str, answer: Answer) -> Answer:
    """`answer` of a method that is answered at once, with a server span around it if traces are on."""
    if not is_on():
        return answer

    def answer_traced(request: bytes, metadata: Metadata) -> bytes:
        span = server_span(path, metadata)
        code, message = INTERNAL, "the service failed"
        try:
            response = answer(request, metadata)
            code, message = 0, ""
            return response
        except GrandstandError as error:
            code, message = error.code, error.message
            raise
        finally:
            end_server_span(span, code, message)

    return answer_traced


def traceparent_of(span: Span) -> str:
    """W3C `traceparent` of a span, "" if it is of no trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


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
