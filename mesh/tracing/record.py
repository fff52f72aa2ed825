"""A span that a service makes itself, and the W3C trace context that joins it to others.

It is a record, not a span of the OpenTelemetry SDK: it is made only when its trace is sampled, or after the
fact from times that were taken anyway. Making and ending one costs 3 µs; a span of the SDK costs 25.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from mesh.logs.line import without_secrets

EVENTS_MAX = 8
LINKS_MAX = 32
ERROR_CHARACTERS_MAX = 300

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = frozenset("13579bdf")

Attributes = Mapping[str, str | int | bool]


class TraceContext(NamedTuple):
    """The ids in lower-case hexadecimal, as W3C writes them."""

    trace_id: str
    span_id: str
    is_sampled: bool


def context_of(traceparent: str) -> TraceContext | None:
    """None for what is no valid W3C `traceparent`."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, flags[-1] in _SAMPLED)


def is_sampled(traceparent: str) -> bool:
    """Of a valid one, or "": the flag that asks for its trace to be kept."""
    return bool(traceparent) and traceparent[-1] in _SAMPLED


def new_trace_id() -> str:
    return f"{random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"


class SpanRecord:
    """One span: times in Unix nanoseconds; `ended_ns` is 0 until it has ended. Always sampled."""

    __slots__ = (
        "attributes",
        "ended_ns",
        "error",
        "events",
        "kind",
        "links",
        "name",
        "parent_id",
        "span_id",
        "started_ns",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        started_ns: int,
        parent: TraceContext | None = None,
        links: Iterable[TraceContext] = (),
        attributes: Attributes | None = None,
    ) -> None:
        """Without a `parent` it begins a trace."""
        self.name = name
        self.kind = kind
        self.trace_id = parent.trace_id if parent else new_trace_id()
        self.parent_id = parent.span_id if parent else ""
        self.span_id = new_span_id()
        self.started_ns = started_ns
        self.ended_ns = 0
        self.links = tuple(links)[:LINKS_MAX]
        self.attributes: dict[str, str | int | bool] = dict(attributes or {})
        self.events: list[tuple[str, int]] = []
        """What happened within it: a name and Unix nanoseconds; EVENTS_MAX, later ones are left out."""
        self.error = ""

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    @property
    def context(self) -> SpanContext:
        """As OpenTelemetry has it."""
        return span_context(TraceContext(self.trace_id, self.span_id, is_sampled=True))

    def event(self, name: str, at_ns: int) -> None:
        if len(self.events) < EVENTS_MAX:
            self.events.append((name, at_ns))

    def failed(self, why: str) -> None:
        self.error = without_secrets(why)[:ERROR_CHARACTERS_MAX] or "failed"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind.name.lower(),
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent_id": self.parent_id,
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "attributes": self.attributes,
            "events": self.events,
            "links": [link.trace_id for link in self.links],
            "error": self.error,
        }


def span_context(found: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if found.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(found.trace_id, 16), int(found.span_id, 16), is_remote=True, trace_flags=flags)
