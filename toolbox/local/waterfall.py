"""From the spans of one vote to the parts of its latency, and their drawing. Pure.

The vote's way to the screen is the chain of parents from the last span up to the first. Each span begins a
part, and so do the moments that spans note within them; a part ends where the next begins. So the parts add
up to the whole by construction, what lies between two processes included, and `skew_ns` says by how much
clocks disagreed: how much of the spans lay before what caused them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

BAR_WIDTH = 40

_BEGINS = (
    ("GatewayService/Send", "gateway: check, and relay to ingest"),
    ("receive events", "ingest: check"),
    ("send events.", "ingest: wait for the block to leave"),
    ("process events.", "aggregate: fold"),
    ("process results", "gateway: wait for the tick"),
)
"""By what a span's name ends or begins with: what goes on from its beginning."""
_MOMENTS = {
    "published": "NATS: store, and deliver to aggregate",
    "tick": "gateway: encode and write the frame",
}
_RECEIVED = "receive events"
_REDIS = "EVALSHA flush"
SEEN = "process results"


class LatencyPart(NamedTuple):
    name: str
    began_ns: int
    ended_ns: int

    @property
    def ms(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass(frozen=True, slots=True)
class VotePath:
    """A vote's way: `spans` from the first to the last, and its parts."""

    spans: tuple[Mapping[str, Any], ...]
    parts: tuple[LatencyPart, ...]
    skew_ns: int

    @property
    def slowest(self) -> LatencyPart:
        return max(self.parts, key=lambda part: part.ended_ns - part.began_ns)

    @property
    def total_ms(self) -> float:
        return (self.parts[-1].ended_ns - self.parts[0].began_ns) / 1e6


def path_of_vote(spans: Iterable[Mapping[str, Any]], last: str = "the way to the screen") -> VotePath | None:
    """None until the span of a frame is there, with all before it. Spans: as `SpanRecord.as_json`, with
    `service`. `last`: what goes on from the frame until the first span's end."""
    by_id = {span["span_id"]: span for span in spans}
    frames = [span for span in by_id.values() if span["name"] == SEEN]
    if not frames:
        return None
    chain = [min(frames, key=lambda span: int(span["started_ns"]))]
    while parent := chain[0]["parent_id"]:
        if parent not in by_id:
            return None
        chain.insert(0, by_id[parent])
    flushes = [span for span in by_id.values() if span["name"] == _REDIS]
    marks = list[tuple[int, str]]()
    for before, span in zip([None, *chain], chain, strict=False):
        marks += _marks(span, before)
        marks += [
            mark for flush in flushes if flush["parent_id"] == span["span_id"] for mark in _around(flush)
        ]
    marks.append((chain[-1]["ended_ns"], last))
    ends_ns = max(chain[0]["ended_ns"], chain[-1]["ended_ns"])
    begins = list(itertools.accumulate((at_ns for at_ns, _ in marks), max))
    parts = [
        LatencyPart(name, began_ns, then_ns)
        for (_, name), began_ns, then_ns in zip(marks, begins, [*begins[1:], ends_ns], strict=True)
    ]
    skew_ns = sum(
        max(0, before["started_ns"] - after["started_ns"])
        for before, after in itertools.pairwise(chain)
        if before["name"] != _RECEIVED
    )
    return VotePath(tuple(chain), tuple(part for part in parts if part.ended_ns > part.began_ns), skew_ns)


def _marks(span: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[tuple[int, str]]:
    """When parts begin. A block may be older than the event: its wait is not the event's."""
    name = str(span["name"])
    says = next(
        (text for known, text in _BEGINS if name.startswith(known) or name.endswith(known)),
        f"{span['service']}: {_short(name)}",
    )
    if before is None:
        says = "the edge, to the gateway"
    elif span["service"].startswith("envoy"):
        says = f"{span['service']}: {_short(name)}"
    began_ns = span["started_ns"]
    if before is not None and before["name"] == _RECEIVED:
        began_ns = max(began_ns, before["ended_ns"])
    moments = [(at_ns, _MOMENTS[moment]) for moment, at_ns in span["events"] if moment in _MOMENTS]
    return [(began_ns, says), *moments]


def _around(flush: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(flush["started_ns"], "Redis: flush"), (flush["ended_ns"], "aggregate: publish the result")]


def drawn(way: VotePath, spans: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines for a terminal: a bar for each span, then the parts, of which the slowest is marked."""
    start_ns = way.parts[0].began_ns
    whole_ns = max(1, way.parts[-1].ended_ns - start_ns)
    rows = sorted(spans, key=lambda span: (span["started_ns"], -span["ended_ns"]))
    labels = [f"{span['service']:<9} {_short(span['name'])}" for span in rows]
    width = max(map(len, labels))
    lines = []
    for label, span in zip(labels, rows, strict=True):
        ms = (span["ended_ns"] - span["started_ns"]) / 1e6
        failed = f"  failed: {span['error']}" if span["error"] else ""
        lines.append(f"{label:<{width}} {_bar(span, start_ns, whole_ns)} {ms:8.1f} ms{failed}")
    return [*lines, "", *_listed(way)]


def _short(name: str) -> str:
    """Of an RPC without its package."""
    return name.rpartition(".")[2] if "/" in name else name


def _listed(way: VotePath) -> list[str]:
    width = max(len(part.name) for part in way.parts)
    slowest = way.slowest
    return [
        f"{part.ms:8.1f} ms  {part.name:<{width}}{'  ◀ the slowest' if part is slowest else ''}".rstrip()
        for part in way.parts
    ]


def _bar(span: Mapping[str, Any], start_ns: int, whole_ns: int) -> str:
    first = _column(span["started_ns"] - start_ns, whole_ns)
    last = max(first + 1, _column(span["ended_ns"] - start_ns, whole_ns))
    return ("·" * first + "█" * (last - first)).ljust(BAR_WIDTH, "·")[:BAR_WIDTH]


def _column(at_ns: int, whole_ns: int) -> int:
    return min(BAR_WIDTH - 1, max(0, round(at_ns / whole_ns * BAR_WIDTH)))


def of_trace(processes: Sequence[Mapping[str, Any]], trace_id: str) -> list[Mapping[str, Any]]:
    """The spans of one trace on a page /spans of `up`."""
    return [span for each in processes for span in each["spans"] if span["trace_id"] == trace_id]
