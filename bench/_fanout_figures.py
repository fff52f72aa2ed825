"""The figures of the fan-out benchmark: the keys of its JSON, and the table a person reads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench._contestants import FanoutTurn
from bench._fanout_bed import CONCURRENCY

OURS, BASELINE, NCHAN, SOCKET_IO = "ours", "grpc_aio", "nchan", "socketio"
_LABELS = {
    BASELINE: "a grpc.aio gateway",
    NCHAN: "Nchan",
    SOCKET_IO: "Socket.IO on Node",
}


class Curve(NamedTuple):
    """Frames a CPU second over viewers."""

    label: str
    points: Sequence[tuple[int, float]]


@dataclass(slots=True)
class FanoutFigures:
    """What a run found; `turns` of each contestant, at one count of viewers after the other."""

    viewers: int
    rate_per_s: float
    turns: Mapping[str, Sequence[FanoutTurn]]
    frame_bytes: int
    peers: dict[str, str] = field(default_factory=dict)
    """By name: its version, or why it was skipped."""
    gateway_kib: float = 0.0
    rss_kib: float = 0.0

    @property
    def unsound(self) -> str:
        """What is wrong with the run; "" when nothing is."""
        for turn in self.turns[OURS]:
            if turn.unsound:
                return turn.unsound
            if turn.lost:
                return (
                    f"{turn.lost} of {turn.lost + turn.frames} frames to {turn.viewers} viewers were never"
                    " shown: newer ones took their place; this machine is too busy for the rate"
                )
        return ""

    @property
    def is_sound(self) -> bool:
        return not self.unsound

    def as_json(self) -> dict[str, Any]:
        ours = self._at(OURS)
        found: dict[str, Any] = {
            "gateway_us_per_frame": _middle(ours, lambda turn: turn.us_per_frame("gateway")),
            "vs_grpc_aio_gateway": self._ratio(BASELINE, lambda turn: turn.frames_per_cpu_s("gateway")),
            "edge_us_per_frame": _middle(ours, lambda turn: turn.us_per_frame("envoy")),
            "vs_nchan": self._ratio(NCHAN, lambda turn: turn.frames_per_cpu_s()),
            "vs_socketio": self._ratio(SOCKET_IO, lambda turn: turn.frames_per_cpu_s()),
            "gateway_kib_per_viewer": round(self.gateway_kib, 2),
            "rss_kib_per_viewer": round(self.rss_kib, 1),
            "p50_ms": _middle(ours, lambda turn: turn.p50_ms),
            "p99_ms": _middle(ours, lambda turn: turn.p99_ms),
            "max_ms": max(turn.max_ms for turn in ours),
            "frames": sum(turn.frames for turn in ours),
            "frames_lost": sum(turn.lost for turn in self.turns[OURS]),
            "viewers": self.viewers,
            "rate_per_s": self.rate_per_s,
            "frame_bytes": self.frame_bytes,
            "cores": os.cpu_count() or 1,
            "edge_threads": CONCURRENCY,
            "peers": self.peers,
        }
        for name in (BASELINE, NCHAN, SOCKET_IO):
            if turns := self._at(name):
                found[f"{name}_us_per_frame"] = _middle(turns, lambda turn: turn.us_per_frame())
                found[f"{name}_p99_ms"] = _middle(turns, lambda turn: turn.p99_ms)
                found[f"{name}_frames_lost"] = sum(turn.lost for turn in turns)
        if turns := self._at(BASELINE):
            found["grpc_aio_gateway_us_per_frame"] = _middle(turns, lambda turn: turn.us_per_frame("gateway"))
        frames = sum(turn.frames for turn in ours)
        found["client_us_per_frame"] = round(
            sum(turn.client_cpu_s for turn in ours) * 1e6 / max(1, frames), 2
        )
        found["publisher_late_ms"] = max(turn.late_ms for turns in self.turns.values() for turn in turns)
        found["curves"] = {
            curve.label: {str(viewers): round(value) for viewers, value in curve.points}
            for curve in self.curves()
        }
        found["ok"] = self.is_sound
        return found

    def curves(self) -> list[Curve]:
        """For the plot and for the record: the median of the rounds at each count of viewers."""
        found = [
            self._curve("our gateway", OURS, "gateway"),
            self._curve("our gateway and Envoy", OURS),
            self._curve("grpc.aio gateway", BASELINE, "gateway"),
            self._curve("grpc.aio gateway and Envoy", BASELINE),
            self._curve("Nchan", NCHAN),
            self._curve("Socket.IO", SOCKET_IO),
        ]
        return [curve for curve in found if curve.points]

    def _curve(self, label: str, name: str, *processes: str) -> Curve:
        turns = self.turns.get(name, ())
        counts = sorted({turn.viewers for turn in turns})
        return Curve(
            label,
            [
                (
                    viewers,
                    statistics.median(
                        turn.frames_per_cpu_s(*processes) for turn in turns if turn.viewers == viewers
                    ),
                )
                for viewers in counts
            ],
        )

    def _at(self, name: str) -> list[FanoutTurn]:
        """The turns at the count of viewers that the figures are for."""
        return [turn for turn in self.turns.get(name, ()) if turn.viewers == self.viewers]

    def _ratio(self, name: str, value: Callable[[FanoutTurn], float]) -> float | None:
        """Ours over theirs: the median of the rounds' ratios. None where they took no part."""
        pairs = list(zip(self._at(OURS), self._at(name), strict=False))
        if not pairs:
            return None
        return round(statistics.median(value(mine) / value(other) for mine, other in pairs), 2)


def _middle(turns: Sequence[FanoutTurn], value: Callable[[FanoutTurn], float]) -> float:
    return round(statistics.median(value(turn) for turn in turns), 3)


def show(figures: FanoutFigures) -> None:
    """The figures for a person."""
    found = figures.as_json()
    table = Table(box=None, header_style="dim")
    for column in ("", "CPU a frame", "frames a CPU second", "ours beside it"):
        table.add_column(column, justify="right" if column else "left")
    whole = found["gateway_us_per_frame"] + found["edge_us_per_frame"]
    for name, us, beside in (
        ("our gateway", found["gateway_us_per_frame"], None),
        ("… and Envoy", whole, None),
        *(
            (f"{_LABELS[name]}{' (alone)' if name == BASELINE else ''}", us, found[key])
            for name, us, key in (
                (BASELINE, found.get("grpc_aio_gateway_us_per_frame"), "vs_grpc_aio_gateway"),
                (NCHAN, found.get("nchan_us_per_frame"), "vs_nchan"),
                (SOCKET_IO, found.get("socketio_us_per_frame"), "vs_socketio"),
            )
        ),
    ):
        if us:
            table.add_row(name, f"{us:.2f} µs", f"{1e6 / us:,.0f}", f"{beside:g} ×" if beside else "")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{figures.viewers:,} viewers, {figures.rate_per_s:g} frames/s of {figures.frame_bytes} bytes: "
        f"p50 {found['p50_ms']:g} ms, p99 {found['p99_ms']:g} ms, {found['frames_lost']:,} of "
        f"{found['frames'] + found['frames_lost']:,} lost"
    )
    console.print(
        f"a viewer holds {found['gateway_kib_per_viewer']:g} KiB in the gateway, "
        f"{found['rss_kib_per_viewer']:g} KiB with Envoy ({found['cores']} cores, "
        f"Envoy on {CONCURRENCY}; the load client took {found['client_us_per_frame']:g} µs a frame)"
    )
