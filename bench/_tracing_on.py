"""Traces as a process has them with a collector and an admin port, for a while, in bench telemetry."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from mesh import telemetry
from mesh.tracing.export import SpanExport
from mesh.tracing.kept import KeptSpans

_NOBODY = "http://127.0.0.1:9"
"""A collector that is away: what is queued for it is encoded, and dropped in the end."""


@functools.cache
def _export() -> SpanExport:
    return SpanExport(_NOBODY, "bench", "bench")


@contextlib.contextmanager
def tracing_on(is_on: bool = True) -> Iterator[None]:
    if is_on:
        telemetry._kept, telemetry._export = KeptSpans("bench", "bench"), _export()
    try:
        yield
    finally:
        telemetry._kept = telemetry._export = None
