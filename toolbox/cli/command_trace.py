"""The span of a command, which begins the trace of what it sends.

The CLI's trace used to end at the edge: a command had no span, the edge took the context of its calls away,
and ingest followed only streams that said they were a producer's. Now a command's token decides, in the
services: with the role producer or operator its context is followed, sampled or not.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanKind

from mesh.tracing.record import SpanRecord
from toolbox.cli.console import say

SERVICE = "cli"


@contextlib.contextmanager
def command_span(name: str, otlp: str | None, *, is_kept: bool = False) -> Iterator[SpanRecord | None]:
    """Around the calls of a command; sent to the collector at `otlp`. Without one nothing is traced, unless
    the command itself reads the spans (`is_kept`)."""
    if otlp is None and not is_kept:
        yield None
        return
    span = SpanRecord(name, SpanKind.CLIENT, time.time_ns())
    try:
        with trace.use_span(NonRecordingSpan(span.context), record_exception=False):
            yield span
    except BaseException as error:
        span.failed(str(error) or type(error).__name__)
        raise
    finally:
        span.ended_ns = span.ended_ns or time.time_ns()
        if otlp is not None:
            _sent(span, otlp)


def _sent(span: SpanRecord, otlp: str) -> None:
    from mesh.tracing import export

    # Said below, in a line of the command's own.
    export.log.setLevel(logging.CRITICAL)
    exporting = export.SpanExport(otlp, SERVICE, SERVICE)
    exporting.add(span)
    exporting.stop()
    if exporting.failures:
        say(f"warning: the collector at {otlp} takes no spans, so the trace lacks this command's own")
