"""W3C trace context of the running span: as gRPC metadata, and for a batch on a stream."""

from __future__ import annotations

from opentelemetry import propagate, trace


def current_traceparent() -> str:
    """Of the running span; "" when there is none, which costs next to nothing."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ""
    return _carrier().get("traceparent", "")


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """For the call that is about to start."""
    return tuple(_carrier().items())


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier
