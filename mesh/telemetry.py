"""Traces: W3C context in gRPC metadata, in batches and in NATS headers; short spans at each service.

Unary calls on grpc.aio are traced by `opentelemetry-instrumentation-grpc`, those on our own engine by
`server_span`, in the same way. Streams get spans of our own: one for each batch, whose parent is the first
traced thing it carries and whose links name the others (a batch has many causes, a span one parent), so the
trace of a lone vote is whole and a storm costs one span a batch. A span as long as a stream would grow
without bound and show only when the stream ends.

What is sampled: the edge decides, by a share, for what comes from clients. Who has the role producer or
operator may force it, by the sampled flag of a `traceparent` of its own. Only contexts that are sampled
travel on, so what is not sampled costs nothing beyond the service that it reached. `late_span` adds what
turned out slow or failed (mesh.tracing.kept says what that cannot bring back).

Spans go to the collector at `config.otlp`, and the newest of each process to a page of its admin port.
Without both nothing is set up, and every call here costs the test of one attribute.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import grpc.aio
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind

from grandstand.wire.errors import GrandstandError
from mesh import wall_clock
from mesh.config import ServiceConfig
from mesh.http2.call import Metadata, contexts_in
from mesh.http2.errors import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UNIMPLEMENTED
from mesh.http2.unary import Answer
from mesh.tracing.kept import SLOW_S, KeptSpans
from mesh.tracing.record import LINKS_MAX, Attributes, SpanRecord, TraceContext, context_of
from mesh.tracing.record import is_sampled as is_sampled

if TYPE_CHECKING:
    from mesh.tracing.export import SpanExport

__all__ = ["LINKS_MAX", "SLOW_S"]

SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER_ARG"
"""The share of traces that are sampled, as OpenTelemetry names it."""

_UNKNOWN, _DATA_LOSS = 2, 15
# Of a server's span; other codes are the client's own doing (semantic conventions for gRPC).
_SERVER_ERRORS = frozenset((_UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, _DATA_LOSS))

_kept: KeptSpans | None = None
_export: SpanExport | None = None


def start(config: ServiceConfig) -> None:
    """Keeps this process's spans for its admin port, and exports them to `config.otlp`; without both it does
    nothing."""
    global _kept, _export
    if config.otlp is None and config.admin is None:
        return
    _kept = KeptSpans(config.service, config.instance)
    if config.otlp is not None:
        # Not above: it takes 7 MiB and a quarter of a second.
        from mesh.tracing.export import SpanExport

        share = float(os.environ.get(SAMPLER_ARGUMENT, "1"))
        _export = SpanExport(config.otlp, config.service, config.instance, share)
        trace.set_tracer_provider(_export.provider)


def stop() -> None:
    """Exports what is left; at most a few seconds."""
    if _export is not None:
        _export.stop()


def is_on() -> bool:
    return _kept is not None


def has_collector() -> bool:
    return _export is not None


def recent_spans() -> bytes:
    """The newest spans of this process, as JSON."""
    return b'{"spans": []}\n' if _kept is None else _kept.page()


def server_interceptors() -> list[grpc.aio.ServerInterceptor]:
    """For a grpc.aio server: spans for unary calls, if there is a collector; streams have their own."""
    if _export is None:
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    streams = filters.any_of(
        filters.method_name("Watch"),
        filters.service_name("grpc.health.v1.Health"),
    )
    return [aio_server_interceptor(filter_=filters.negate(streams))]


# Spans.


def server_span(
    path: str, metadata: Metadata, started_ns: int = 0, *, may_force: bool = False
) -> SpanRecord | None:
    """The span of a unary call on our own engine, child of the caller's that `metadata` names; None while
    traces are off, and for a call that is not sampled. `may_force`: the caller's token has a role that may
    have it sampled. It is not made the running one: many calls are under way at once. Hand it to
    `end_server_span`. Attributes: the semantic conventions for gRPC."""
    if _kept is None:
        return None
    parent, client = contexts_in(metadata)
    forced = may_force and is_sampled(client)
    if not forced and not is_sampled(parent):
        return None
    asked, edge = context_of(client), context_of(parent)
    # A client's own context is linked to, where it may not force: so its traces lead to ours.
    found, other = (asked, edge) if forced and asked else (edge, asked)
    if found is None or not found.is_sampled:
        return None
    service, _, method = path[1:].partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    links = [other] if other else ()
    return SpanRecord(path, SpanKind.SERVER, started_ns or wall_clock.now_ns(), found, links, attributes)


def end_server_span(span: SpanRecord | None, code: int = 0, message: str = "") -> None:
    """`code`: the gRPC status that the call ended with. An error of the server's makes the span one."""
    if span is not None:
        span.attributes["rpc.grpc.status_code"] = code
        if code in _SERVER_ERRORS:
            span.failed(message)
        _end(span)


def traced(path: str, answer: Answer) -> Answer:
    """`answer` of a method that is answered at once, with a server span around it if traces are on."""
    if not is_on():
        return answer

    def answer_traced(request: bytes, metadata: Metadata) -> bytes:
        span = server_span(path, metadata)
        if span is None:
            return answer(request, metadata)
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


@contextlib.contextmanager
def batch_span(
    name: str,
    kind: SpanKind,
    causes: Iterable[str],
    attributes: Attributes | None = None,
    started_ns: int = 0,
) -> Iterator[SpanRecord | None]:
    """A span for a batch, child of its first cause and linked to the others; the running one in its body.

    A batch without a sampled cause gets none: background work would drown the traces.
    """
    contexts = causes_of(causes)
    if not contexts:
        yield None
        return
    span = SpanRecord(name, kind, started_ns or wall_clock.now_ns(), contexts[0], contexts[1:], attributes)
    with _running(span):
        yield span


@contextlib.contextmanager
def inner_span(
    name: str, kind: SpanKind, parent: SpanRecord, attributes: Attributes | None = None
) -> Iterator[SpanRecord]:
    """A part of `parent`."""
    within = TraceContext(parent.trace_id, parent.span_id, is_sampled=True)
    span = SpanRecord(name, kind, wall_clock.now_ns(), within, (), attributes)
    with _running(span):
        yield span


def late_span(
    name: str, kind: SpanKind, seconds: float, attributes: Attributes | None = None, error: str = ""
) -> None:
    """After the fact, for what is not sampled, just ended, and was slow (SLOW_S) or failed. It begins a trace
    of its own. Bounded a second, see mesh.tracing.kept."""
    if _kept is None or not _kept.may_add_late(time.monotonic()):
        return
    span = SpanRecord(name, kind, wall_clock.now_ns() - int(seconds * 1e9), None, (), attributes)
    span.attributes["grandstand.kept_because"] = "failed" if error else "slow"
    if error:
        span.failed(error)
    _end(span)


def late_server_span(path: str, seconds: float, code: int, message: str) -> None:
    """`late_span` for a call that ended with the gRPC status `code`, if it was slow or the server's fault."""
    is_error = code in _SERVER_ERRORS
    if seconds > SLOW_S or is_error:
        service, _, method = path[1:].partition("/")
        late_span(
            path,
            SpanKind.SERVER,
            seconds,
            {
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "rpc.grpc.status_code": code,
            },
            (message or "failed") if is_error else "",
        )


def _end(span: SpanRecord) -> None:
    span.ended_ns = wall_clock.now_ns()
    if _kept is not None:
        _kept.add(span)
    if _export is not None:
        _export.add(span)


@contextlib.contextmanager
def _running(span: SpanRecord) -> Iterator[None]:
    """For OpenTelemetry too: what is sent and logged meanwhile names it."""
    token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(span.context)))
    try:
        yield
    except BaseException as error:
        span.failed(str(error) or type(error).__name__)
        raise
    finally:
        otel_context.detach(token)
        _end(span)


# Contexts.


def traceparent_of(span: Span) -> str:
    """W3C `traceparent` of a span of OpenTelemetry's, "" if it is of no trace."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def headers() -> dict[str, str]:
    """The running span as NATS headers, if it is sampled; a new dict each time, as nats-py wants."""
    carrier: dict[str, str] = {}
    if is_on() and trace.get_current_span().get_span_context().trace_flags.sampled:
        inject(carrier)
    return carrier


def causes_of(traceparents: Iterable[str]) -> list[TraceContext]:
    """The valid, sampled contexts among `traceparents`, without repetition, at most LINKS_MAX."""
    if not is_on():
        return []
    found: list[TraceContext] = []
    for traceparent in dict.fromkeys(traceparents):
        if len(found) >= LINKS_MAX:
            break
        if is_sampled(traceparent) and (cause := context_of(traceparent)):
            found.append(cause)
    return found


def cause_in(message_headers: Mapping[str, str] | None) -> str:
    """The traceparent of a NATS message, or ""."""
    return (message_headers or {}).get("traceparent", "")


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Runs its body without the current span, for tasks that outlive the call that started them."""
    token = otel_context.attach(Context())
    try:
        yield
    finally:
        otel_context.detach(token)
