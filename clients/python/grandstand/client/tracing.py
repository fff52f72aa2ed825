"""W3C trace context of the running span: as gRPC metadata, and for a batch on a stream.

None without the package opentelemetry-api, which the client does not bring along.
"""

from __future__ import annotations

try:
    from opentelemetry import propagate, trace
except ImportError:
    trace = None  # type: ignore[assignment]


def current_traceparent() -> str:
    """Of the running span; "" when there is none, which costs next to nothing."""
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return ""
    return _carrier().get("traceparent", "")


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """For the call that is about to start."""
    return tuple(_carrier().items())


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    if trace is not None:
        propagate.inject(carrier)
    return carrier
