"""The figures of the benchmark of many games: the keys of its JSON, and what a person reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class GamesTurn(NamedTuple):
    """Votes in all games, evenly, at one rate."""

    games: int
    viewers: int
    """Of each game."""
    votes: int
    rejected: int
    frames: int
    """That viewers were shown."""
    behind: int
    """Viewers that were not shown the last count."""
    seconds: float
    cpu_s: Mapping[str, float]
    """By process, such as gateway-1."""
    client_cpu_s: float
    p50_ms: float
    p99_ms: float
    late_ms: float
    """By how much the votes were late when they were sent, at most."""
    unsound: str

    @property
    def updates(self) -> float:
        """Changes of a game that its viewers were shown."""
        return self.frames / self.viewers

    def us(self, service: str, units: float) -> float | None:
        """Microseconds of CPU of all instances of a service for each unit."""
        if not units:
            return None
        spent_s = sum(s for name, s in self.cpu_s.items() if name.startswith(service))
        return round(1e6 * spent_s / units, 1)


@dataclass
class GamesFigures:
    """What a run found."""

    games: int
    viewers: int
    rate: float
    loaded: GamesTurn
    calm: GamesTurn
    join_s: float
    join_errors: int
    join_error: str = ""
    idle_gateway_cpu: float = 0.0
    defined_s: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def unsound(self) -> str:
        for turn in (self.loaded, self.calm):
            if turn.unsound:
                return turn.unsound
        return ""

    def as_json(self) -> dict[str, Any]:
        loaded, calm = self.loaded, self.calm
        return {
            "gateway_us_per_game_update": loaded.us("gateway", loaded.updates),
            # The votes of a game are farther apart than flushes: each is an update of its topic.
            "aggregate_us_per_topic_update": loaded.us("aggregate", loaded.votes),
            "edge_us_per_game_update": loaded.us("envoy", loaded.updates),
            "p50_ms": calm.p50_ms,
            "p99_ms": calm.p99_ms,
            "join_errors": self.join_errors,
            "join_error": self.join_error,
            "join_s": round(self.join_s, 2),
            "idle_gateway_cpu": round(self.idle_gateway_cpu, 3),
            **self.found,
            "loaded_p50_ms": loaded.p50_ms,
            "loaded_p99_ms": loaded.p99_ms,
            "loaded_updates_per_vote": round(loaded.updates / max(1, loaded.votes), 2),
            "loaded_cpu": _shares(loaded),
            "calm_cpu": _shares(calm),
            "client_us_per_frame": round(1e6 * loaded.client_cpu_s / max(1, loaded.frames), 2),
            "voter_late_ms": loaded.late_ms,
            "games": self.games,
            "viewers": self.viewers,
            "rate_per_s": self.rate,
            "defined_s": round(self.defined_s, 1),
            "cores": os.cpu_count() or 1,
            "ok": not self.unsound,
        }


def _shares(turn: GamesTurn) -> dict[str, float]:
    """Of a core, by process."""
    return {name: round(s / turn.seconds, 2) for name, s in sorted(turn.cpu_s.items())}


def show(figures: GamesFigures) -> None:
    """The figures for a person."""
    table = Table(box=None, header_style="dim")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures.as_json().items():
        table.add_row(name, "-" if value is None else str(value))
    Console(highlight=False).print(table)
