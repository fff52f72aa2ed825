"""The figures of the ingest benchmark: the keys of its JSON, and the table a person reads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench._messages import BATCH


class IngestTurn(NamedTuple):
    """What one of the contestants did in one round."""

    events: int
    cpu_s: float
    """Of the measured process."""
    wall_s: float
    generator_cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        """The kernel counts CPU in hundredths of a second; less than one counts as one."""
        return self.events / max(self.cpu_s, 0.01)


@dataclass(slots=True)
class IngestFigures:
    """What a run found."""

    single_streams: int
    batched_streams: int
    idle_streams: int
    ack_rate_per_s: float
    spread: int
    single: list[IngestTurn] = field(default_factory=list)
    floor: list[IngestTurn] = field(default_factory=list)
    batched: list[IngestTurn] = field(default_factory=list)
    nats_py: list[IngestTurn] = field(default_factory=list)
    events_per_ack: list[float] = field(default_factory=list)
    ack_p50_ms: float = 0.0
    ack_p99_ms: float = 0.0
    ack_max_ms: float = 0.0
    ack_samples: int = 0
    generator_pace_share: float = 0.0
    """Of one core, while events came at a rate."""
    generator_late_ms: float = 0.0
    """How long it did not get to send what was due, at most."""
    rss_kib_per_stream: float = 0.0
    sent: int = 0
    settled: int = 0
    shed: int = 0
    refused: int = 0
    stored: int = 0
    blocks: int = 0

    @property
    def acked(self) -> int:
        """Promised to be durable."""
        return self.settled - self.shed - self.refused

    @property
    def unsound(self) -> str:
        """What is wrong with the run; "" when nothing is."""
        if self.settled != self.sent:
            return f"{self.sent} events were sent, and {self.settled} are settled"
        if self.stored != self.acked:
            return f"{self.acked} events were acked, and {self.stored} are stored"
        return ""

    @property
    def is_sound(self) -> bool:
        return not self.unsound

    def take_acks(self, took_s: Sequence[float]) -> None:
        """`took_s`: sorted."""
        self.ack_samples = len(took_s)
        self.ack_p50_ms = _milliseconds(took_s[len(took_s) // 2])
        self.ack_p99_ms = _milliseconds(took_s[len(took_s) * 99 // 100])
        self.ack_max_ms = _milliseconds(took_s[-1])

    def as_json(self) -> dict[str, Any]:
        return {
            "single_events_per_cpu_s": _middle(self.single),
            "batched_events_per_cpu_s": _middle(self.batched),
            "vs_grpc_aio_floor": _ratio(self.single, self.floor),
            "vs_nats_py": _ratio(self.batched, self.nats_py),
            "ack_p50_ms": self.ack_p50_ms,
            "ack_p99_ms": self.ack_p99_ms,
            "rss_kib_per_stream": self.rss_kib_per_stream,
            "floor_events_per_cpu_s": _middle(self.floor),
            "nats_py_events_per_cpu_s": _middle(self.nats_py),
            "single_events_per_s": _wall(self.single),
            "batched_events_per_s": _wall(self.batched),
            "single_events_per_ack": round(statistics.median(self.events_per_ack), 1),
            "ack_max_ms": self.ack_max_ms,
            "ack_rate_per_s": self.ack_rate_per_s,
            "ack_samples": self.ack_samples,
            "generator_us_per_single": _generator_us(self.single),
            "generator_us_per_batched": _generator_us(self.batched),
            "generator_pace_share": self.generator_pace_share,
            "generator_late_ms": self.generator_late_ms,
            "rounds": {
                name: [
                    {"events": turn.events, "cpu_s": round(turn.cpu_s, 2), "wall_s": round(turn.wall_s, 2)}
                    for turn in turns
                ]
                for name, turns in (
                    ("single", self.single),
                    ("floor", self.floor),
                    ("batched", self.batched),
                    ("nats_py", self.nats_py),
                )
            },
            "single_streams": self.single_streams,
            "batched_streams": self.batched_streams,
            "batch_events": BATCH,
            "idle_streams": self.idle_streams,
            "spread": self.spread,
            "sent": self.sent,
            "acked": self.acked,
            "stored": self.stored,
            "shed": self.shed,
            "refused": self.refused,
            "blocks": self.blocks,
            "cores": os.cpu_count() or 1,
            "ok": self.is_sound,
        }


def _middle(turns: Sequence[IngestTurn]) -> int:
    return round(statistics.median(turn.per_cpu_s for turn in turns))


def _ratio(ours: Sequence[IngestTurn], theirs: Sequence[IngestTurn]) -> float:
    """The median of the rounds' ratios."""
    pairs = zip(ours, theirs, strict=True)
    return round(statistics.median(mine.per_cpu_s / other.per_cpu_s for mine, other in pairs), 3)


def _wall(turns: Sequence[IngestTurn]) -> int:
    return round(statistics.median(turn.events / turn.wall_s for turn in turns))


def _generator_us(turns: Sequence[IngestTurn]) -> float:
    spent_s = sum(turn.generator_cpu_s for turn in turns)
    return round(1e6 * spent_s / max(1, sum(turn.events for turn in turns)), 2)


def _milliseconds(seconds: float) -> float:
    return round(1_000 * seconds, 2)


def show(figures: IngestFigures) -> None:
    """The figures for a person."""
    found = figures.as_json()
    table = Table(box=None, header_style="dim")
    for column in ("", "events a CPU second", "ingest beside it"):
        table.add_column(column, justify="right" if column else "left")
    for name, key, ratio in (
        (f"single: {figures.single_streams:,} streams, an event a message", "single", ""),
        ("grpc.aio, reading only", "floor", "vs_grpc_aio_floor"),
        (f"batched: {figures.batched_streams:,} streams, {BATCH} events a message", "batched", ""),
        ("nats-py, publish_async for each event", "nats_py", "vs_nats_py"),
    ):
        share = f"{found[ratio]:g} ×" if ratio else ""
        table.add_row(name, f"{found[f'{key}_events_per_cpu_s']:,}", share)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"acks at {figures.ack_rate_per_s:,g} events/s: p50 {figures.ack_p50_ms:g} ms, "
        f"p99 {figures.ack_p99_ms:g} ms, the slowest {figures.ack_max_ms:g} ms "
        f"(the generator was {figures.generator_late_ms:g} ms late at most)"
    )
    console.print(f"an idle stream: {figures.rss_kib_per_stream:g} KiB ({figures.idle_streams:,} of them)")
    console.print(
        f"the generator's own CPU: {found['generator_us_per_single']:g} µs a single event, "
        f"{found['generator_us_per_batched']:g} µs a batched one"
    )
    console.print(
        f"{figures.sent:,} sent, {figures.acked:,} acked, {figures.stored:,} stored, {figures.shed:,} shed, "
        f"{figures.refused:,} refused ({found['cores']} cores)"
    )
