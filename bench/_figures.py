"""The figures of the latency benchmark: the keys of its JSON, and the table a person reads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Figures:
    """What a run found; the keys of its JSON."""

    viewers: int
    rate: float
    seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    samples: int = 0
    idle_p50_ms: float | None = None
    idle_p99_ms: float | None = None
    idle_samples: int = 0
    floor_p50_ms: float | None = None
    floor_p99_ms: float | None = None
    floor_load_p50_ms: float | None = None
    floor_load_p99_ms: float | None = None
    crowd_p50_ms: float | None = None
    crowd_p99_ms: float | None = None
    votes_per_s: float | None = None
    updates_per_s: float | None = None
    cpu_us_per_vote: float | None = None
    cpu_us_per_update: float | None = None
    cpu_s: dict[str, float] = field(default_factory=dict)
    sent: int = 0
    acked: int = 0
    counted: int = 0
    unsettled: int = 0
    cores: int = os.cpu_count() or 1
    temporary_mesh: bool = False

    @property
    def is_sound(self) -> bool:
        """What was acked was counted once; what was not may have been."""
        return self.acked <= self.counted <= self.acked + self.unsettled

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"ok": self.is_sound}


def show(figures: Figures) -> None:
    """The figures for a person."""
    table = Table(box=None, header_style="dim")
    for column in ("ms", "p50", "p99", "samples"):
        table.add_column(column, justify="left" if column == "ms" else "right")
    load = f"{figures.viewers} viewers, {figures.rate:g} votes/s"
    rows: list[tuple[str, float | None, float | None, str]] = [
        ("vote to screen, idle", figures.idle_p50_ms, figures.idle_p99_ms, str(figures.idle_samples)),
        (f"vote to screen, {load}", figures.p50_ms, figures.p99_ms, str(figures.samples)),
        ("as the crowd itself saw it", figures.crowd_p50_ms, figures.crowd_p99_ms, ""),
        ("floor: a unary call, idle", figures.floor_p50_ms, figures.floor_p99_ms, ""),
        ("floor: a unary call, under load", figures.floor_load_p50_ms, figures.floor_load_p99_ms, ""),
    ]
    for name, p50, p99, samples in rows:
        table.add_row(name, *("-" if value is None else f"{value:.2f}" for value in (p50, p99)), samples)
    console = Console(highlight=False)
    console.print(table)
    if figures.cpu_us_per_vote is not None:
        spent = ", ".join(f"{name} {seconds:g}" for name, seconds in figures.cpu_s.items())
        console.print(
            f"CPU: {figures.cpu_us_per_vote:g} µs a vote, {figures.cpu_us_per_update:g} µs a delivered update"
            f" (seconds: {spent}; {figures.cores} cores)"
        )
    console.print(f"{figures.sent:,} sent, {figures.acked:,} acked, {figures.counted:,} counted")
