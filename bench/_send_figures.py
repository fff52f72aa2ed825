"""The figures of the Send benchmark: the keys of its JSON, and the table a person reads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench._percentiles import milliseconds

GRPC, WEB = "grpc", "web"
OURS, GRPC_AIO = "ours", "grpc_aio"


class SendTurn(NamedTuple):
    """What one of the contestants did in one round, and what it cost whom."""

    sends: int
    wall_s: float
    gateway_s: float
    edge_s: float
    ingest_s: float
    crowd_s: float

    @property
    def per_cpu_s(self) -> float:
        """Of the gateway. The kernel counts CPU in hundredths of a second; less than one counts as one."""
        return self.sends / max(self.gateway_s, 0.01)


@dataclass(slots=True)
class SendFigures:
    """What a run found."""

    viewers: int
    depth: int
    rate_per_s: float
    turns: dict[tuple[str, str], list[SendTurn]] = field(default_factory=dict)
    """By contestant and wire, in the order of the rounds."""
    took_us: dict[str, list[int]] = field(default_factory=dict)
    """By contestant, sorted: how long answers took at a rate."""
    crowd_late_ms: float = 0.0
    sent: int = 0
    acked: int = 0
    stored: int = 0
    lost: int = 0
    """Acked and not stored."""
    failures: dict[str, int] = field(default_factory=dict)
    """By what was said."""

    @property
    def unsound(self) -> str:
        """What is wrong with the run; "" when nothing is."""
        if self.lost:
            return f"{self.lost} of {self.acked} acked events are not in the event log"
        if self.acked != self.sent:
            why, times = next(iter(self.failures.items()), ("no word", 0))
            return f"{self.sent} events were sent, and {self.acked} are acked; {times} times: {why}"
        if self.stored != self.acked:
            return f"{self.acked} events were acked, and {self.stored} are stored"
        return ""

    @property
    def is_sound(self) -> bool:
        return not self.unsound

    def as_json(self) -> dict[str, Any]:
        took_us = self.took_us
        return {
            "unary_per_cpu_s": self._per_cpu_s(OURS, GRPC),
            "vs_grpc_aio_unary": self._ratio(GRPC),
            "p50_ms": milliseconds(took_us.get(OURS, ()), 50),
            "p99_ms": milliseconds(took_us.get(OURS, ()), 99),
            "web_unary_per_cpu_s": self._per_cpu_s(OURS, WEB),
            "web_vs_grpc_aio_unary": self._ratio(WEB),
            "grpc_aio_unary_per_cpu_s": self._per_cpu_s(GRPC_AIO, GRPC),
            "grpc_aio_web_unary_per_cpu_s": self._per_cpu_s(GRPC_AIO, WEB),
            "grpc_aio_p50_ms": milliseconds(took_us.get(GRPC_AIO, ()), 50),
            "grpc_aio_p99_ms": milliseconds(took_us.get(GRPC_AIO, ()), 99),
            "rate_per_s": self.rate_per_s,
            "samples": len(took_us.get(OURS, ())),
            "crowd_late_ms": self.crowd_late_ms,
            "sends_per_s": round(self._middle(OURS, GRPC, lambda turn: turn.sends / turn.wall_s)),
            "gateway_us_per_send": self._us(OURS, GRPC, lambda turn: turn.gateway_s),
            "edge_us_per_send": self._us(OURS, GRPC, lambda turn: turn.edge_s),
            "ingest_us_per_send": self._us(OURS, GRPC, lambda turn: turn.ingest_s),
            "crowd_us_per_send": self._us(OURS, GRPC, lambda turn: turn.crowd_s),
            "rounds": {
                f"{contestant}_{wire}": [
                    {"sends": turn.sends, "cpu_s": round(turn.gateway_s, 2), "wall_s": round(turn.wall_s, 2)}
                    for turn in turns
                ]
                for (contestant, wire), turns in self.turns.items()
            },
            "viewers": self.viewers,
            "depth": self.depth,
            "sent": self.sent,
            "acked": self.acked,
            "stored": self.stored,
            "cores": os.cpu_count() or 1,
            "ok": self.is_sound,
        }

    def _per_cpu_s(self, contestant: str, wire: str) -> int:
        return round(self._middle(contestant, wire, lambda turn: turn.per_cpu_s))

    def _us(self, contestant: str, wire: str, spent_s: Callable[[SendTurn], float]) -> float:
        return round(self._middle(contestant, wire, lambda turn: 1e6 * spent_s(turn) / max(1, turn.sends)), 1)

    def _middle(self, contestant: str, wire: str, of: Callable[[SendTurn], float]) -> float:
        return statistics.median([of(turn) for turn in self._turns(contestant, wire)] or [0.0])

    def _ratio(self, wire: str) -> float:
        """The median of the rounds' ratios: what the machine does to one it does to the other."""
        pairs = zip(self._turns(OURS, wire), self._turns(GRPC_AIO, wire), strict=True)
        ratios = [ours.per_cpu_s / theirs.per_cpu_s for ours, theirs in pairs if theirs.sends]
        return round(statistics.median(ratios or [0.0]), 2)

    def _turns(self, contestant: str, wire: str) -> Sequence[SendTurn]:
        return self.turns.get((contestant, wire), ())


def show(figures: SendFigures) -> None:
    """The figures for a person."""
    found = figures.as_json()
    table = Table(box=None, header_style="dim")
    for column in ("", "Sends a CPU second", "beside grpc.aio", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, key, ratio, times in (
        ("gRPC", "unary_per_cpu_s", "vs_grpc_aio_unary", ""),
        ("gRPC, the gateway on grpc.aio", "grpc_aio_unary_per_cpu_s", "", "grpc_aio_"),
        ("gRPC-Web", "web_unary_per_cpu_s", "web_vs_grpc_aio_unary", None),
        ("gRPC-Web, the gateway on grpc.aio", "grpc_aio_web_unary_per_cpu_s", "", None),
    ):
        late = ["", ""] if times is None else [f"{found[f'{times}{each}_ms']:g}" for each in ("p50", "p99")]
        table.add_row(name, f"{found[key]:,}", f"{found[ratio]:g} ×" if ratio else "", *late)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{figures.viewers:,} viewers, {figures.depth} calls under way; the times at {figures.rate_per_s:,g} "
        f"a second (the crowd was {figures.crowd_late_ms:g} ms late at most)"
    )
    console.print(
        f"CPU of a Send: gateway {found['gateway_us_per_send']:g} µs, Envoy {found['edge_us_per_send']:g} "
        f"µs, ingest {found['ingest_us_per_send']:g} µs, the crowd {found['crowd_us_per_send']:g} µs"
    )
    console.print(
        f"{figures.sent:,} sent, {figures.acked:,} acked, {figures.stored:,} stored ({found['cores']} cores)"
    )
