"""The figures of the notices benchmark: the keys of its JSON, and the table a person reads."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class NotifyFigures:
    """What a run found; the keys of its JSON."""

    actors: int
    rate: float
    seconds: float
    accepted: int = 0
    """Notices to one actor each that were sent as fast as they were taken, and stored."""
    accepted_per_s: float = 0.0
    accepted_per_cpu_s: float = 0.0
    """By a second of notify's CPU."""
    listed_per_cpu_s: float = 0.0
    """Actors of lists, by a second of notify's CPU."""
    delivered: int = 0
    undelivered: int = 0
    doubled: int = 0
    delivered_p50_ms: float = 0.0
    delivered_p99_ms: float = 0.0
    broadcasts: int = 0
    broadcast_p50_ms: float = 0.0
    broadcast_p99_ms: float = 0.0
    broadcast_messages_per_gateway: float = 0.0
    broadcast_stored_bytes_per_actor: float = 0.0
    broadcast_cpu_us_per_actor: float = 0.0
    """Of NATS, Redis and notify."""
    rows_messages_per_gateway: float = 0.0
    rows_stored_bytes_per_actor: float = 0.0
    rows_cpu_us_per_actor: float = 0.0
    """Of NATS, Redis and the writer."""
    rules_us_per_result: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    """While notices were delivered at `rate`, by process."""
    cores: int = os.cpu_count() or 1
    temporary_mesh: bool = False

    @property
    def is_sound(self) -> bool:
        """Everything reached everybody once."""
        return not self.undelivered and not self.doubled

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.is_sound}


def show(figures: NotifyFigures) -> None:
    """The figures for a person."""
    table = Table(box=None, header_style="dim")
    for column in ("", "p50", "p99", "bytes/actor", "CPU µs/actor", "messages/gateway"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(
        f"{figures.rate:g} notices/s to one of {figures.actors:,} actors",
        *(f"{figures.delivered_p50_ms:.1f} ms", f"{figures.delivered_p99_ms:.1f} ms"),
    )
    table.add_row(
        "a notice to everyone",
        *(f"{figures.broadcast_p50_ms:.1f} ms", f"{figures.broadcast_p99_ms:.1f} ms"),
        f"{figures.broadcast_stored_bytes_per_actor:g}",
        f"{figures.broadcast_cpu_us_per_actor:.1f}",
        f"{figures.broadcast_messages_per_gateway:g}",
    )
    table.add_row(
        "baseline: a row for each actor",
        *("", ""),
        f"{figures.rows_stored_bytes_per_actor:g}",
        f"{figures.rows_cpu_us_per_actor:.1f}",
        f"{figures.rows_messages_per_gateway:g}",
    )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"notify takes {figures.accepted_per_cpu_s:,.0f} notices a CPU second ({figures.accepted_per_s:,.0f}"
        f" a second here), {figures.listed_per_cpu_s:,.0f} actors of lists; rules take"
        f" {figures.rules_us_per_result:.1f} µs a result"
    )
    console.print(f"{figures.delivered:,} delivered, {figures.undelivered} not, {figures.doubled} twice")
