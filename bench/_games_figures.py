"""The figures of the benchmark of many games: the keys of its JSON, and what a person reads."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench._games_churn import Churn

NCHAN, SOCKET_IO = "nchan", "socketio"


class GamesTurn(NamedTuple):
    """Votes in all games, evenly, at one rate."""

    games: int
    viewers: int
    """Of each game."""
    rate_per_s: float
    """Votes in each game."""
    votes: int
    frames: int
    """That viewers were shown."""
    frame_bytes: int
    seconds: float
    cpu_s: Mapping[str, float]
    """By process, such as gateway-1."""
    client_cpu_s: float
    p50_ms: float
    p99_ms: float
    late_ms: float
    """By how much votes were late when they were sent, at most."""
    unsound: str
    """What is wrong with it; "" when nothing is."""

    @property
    def updates(self) -> float:
        """Updates of a game that all its viewers were shown."""
        return self.frames / self.viewers

    def us_per_update(self, *services: str) -> float:
        """Microseconds of CPU of all instances of these for a game's update; of all processes when none is
        named."""
        return 1e6 * self.spent_s(*services) / max(1.0, self.updates)

    def us_per_vote(self, service: str) -> float:
        return 1e6 * self.spent_s(service) / self.votes

    def spent_s(self, *services: str) -> float:
        return sum(s for name, s in self.cpu_s.items() if name.startswith(services or ("",)))


class FlushCost(NamedTuple):
    """As many votes a second in one partition and spread over all of them, one topic in each."""

    one_cpu_s: float
    one_flushes: int
    all_cpu_s: float
    all_flushes: int

    @property
    def us(self) -> float:
        """What the flushes cost that are only there because of the spread, each."""
        more = self.all_flushes - self.one_flushes
        return 1e6 * (self.all_cpu_s - self.one_cpu_s) / more if more > 0 else 0.0


@dataclass
class GamesFigures:
    """What a run found."""

    games: int
    viewers: int
    rate_per_s: float
    join_s: float = 0.0
    join_errors: Mapping[str, int] = field(default_factory=dict)
    idle_gateway_cpu: float = 0.0
    define_s: float = 0.0
    """How long it took to define the games and to open their polls."""
    loaded: list[GamesTurn] = field(default_factory=list)
    calm: list[GamesTurn] = field(default_factory=list)
    neighbour: GamesTurn | None = None
    neighbour_votes_per_s: float = 0.0
    flush: FlushCost | None = None
    define_per_s: float | None = None
    define_standing: int = 0
    churn: Churn | None = None
    peers: dict[str, list[GamesTurn]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """By what was not measured: why. By peer: its version."""
    ladder: list[tuple[GamesTurn, GamesTurn]] = field(default_factory=list)
    """For the plot: loaded and calm, at one number of games after the other."""

    @property
    def unsound(self) -> str:
        """What is wrong with the run; "" when nothing is."""
        turns = [*self.loaded, *self.calm, *(turn for pair in self.ladder for turn in pair)]
        if self.neighbour is not None:
            turns.append(self.neighbour)
        found = [turn.unsound for turn in turns]
        if self.churn is not None:
            found.append(self.churn.unsound)
        return next(filter(None, found), "")

    def ratio(self, peer: str) -> float | None:
        """The peer's CPU for a game's update on its viewers' screens over our gateway's and Envoy's: the
        median of the rounds' ratios. None where it took no part."""
        pairs = list(zip(self.loaded, self.peers.get(peer, ()), strict=False))
        if not pairs:
            return None
        ratios = [other.us_per_update() / ours.us_per_update("gateway", "envoy") for ours, other in pairs]
        return round(statistics.median(ratios), 2)

    def as_json(self) -> dict[str, Any]:
        loaded = self.loaded
        found: dict[str, Any] = {
            "gateway_us_per_game_update": _middle([turn.us_per_update("gateway") for turn in loaded]),
            # A game's votes are farther apart than flushes: each is an update of its topic.
            "aggregate_us_per_topic_update": _middle([turn.us_per_vote("aggregate") for turn in loaded]),
            "aggregate_us_per_flush": self.flush and round(self.flush.us, 1),
            "flushes": self.flush and self.flush._asdict(),
            "edge_us_per_game_update": _middle([turn.us_per_update("envoy") for turn in loaded]),
            "vs_nchan_games": self.ratio(NCHAN),
            "vs_socketio_games": self.ratio(SOCKET_IO),
            "p50_ms": _middle([turn.p50_ms for turn in self.calm]),
            "p99_ms": _middle([turn.p99_ms for turn in self.calm]),
            "join_errors": sum(self.join_errors.values()),
            "join_s": round(self.join_s, 2),
            "idle_gateway_cpu": round(self.idle_gateway_cpu, 3),
            "neighbour_p99_ms": self.neighbour and self.neighbour.p99_ms,
            "neighbour_votes_per_s": round(self.neighbour_votes_per_s),
            "define_per_s": self.define_per_s and round(self.define_per_s),
            "define_standing": self.define_standing,
            **(self.churn or Churn(0)).as_json(),
            "loaded_p50_ms": _middle([turn.p50_ms for turn in loaded]),
            "loaded_p99_ms": _middle([turn.p99_ms for turn in loaded]),
            "loaded_updates_per_vote": _middle([turn.updates / turn.votes for turn in loaded], 2),
            "loaded_cpu": _shares(loaded[-1]) if loaded else {},
            "calm_cpu": _shares(self.calm[-1]) if self.calm else {},
            "client_us_per_frame": _middle(
                [1e6 * turn.client_cpu_s / max(1, turn.frames) for turn in loaded], 2
            ),
            "voter_late_ms": max((turn.late_ms for turn in loaded), default=0.0),
            "frame_bytes": loaded[-1].frame_bytes if loaded else 0,
            "games": self.games,
            "viewers": self.viewers,
            "rate_per_s": self.rate_per_s,
            "set_up_s": round(self.define_s, 1),
            "join_error": next(iter(self.join_errors), ""),
            "cores": os.cpu_count() or 1,
            "notes": self.notes,
        }
        for name, turns in self.peers.items():
            found[f"{name}_us_per_game_update"] = _middle([turn.us_per_update() for turn in turns])
            found[f"{name}_updates_per_vote"] = _middle([turn.updates / turn.votes for turn in turns], 2)
            found[f"{name}_unsound"] = next((turn.unsound for turn in turns if turn.unsound), "")
        if self.ladder:
            found["ladder"] = [_step(*pair) for pair in self.ladder]
        found["ok"] = not self.unsound
        return found


def _step(loaded: GamesTurn, calm: GamesTurn) -> dict[str, float]:
    return {
        "games": loaded.games,
        "gateway_us": round(loaded.us_per_update("gateway"), 1),
        "edge_us": round(loaded.us_per_update("envoy"), 1),
        "aggregate_us": round(loaded.us_per_vote("aggregate"), 1),
        "p50_ms": calm.p50_ms,
        "p99_ms": calm.p99_ms,
    }


def _middle(values: Sequence[float], digits: int = 1) -> float | None:
    return round(statistics.median(values), digits) if values else None


def _shares(turn: GamesTurn) -> dict[str, float]:
    """Of a core, by process."""
    return {name: round(s / turn.seconds, 2) for name, s in sorted(turn.cpu_s.items())}


def show(figures: GamesFigures) -> None:
    """The figures for a person."""
    found = figures.as_json()
    table = Table(box=None, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for label, key, unit in _ROWS:
        if (value := found.get(key)) is not None:
            table.add_row(label, f"{value:,g} {unit}".rstrip())
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{figures.games:,} games, {figures.viewers} viewers each, {figures.rate_per_s:g} votes/s each when "
        f"loaded, 1 when calm; {found['cores']} cores; the load client took "
        f"{found['client_us_per_frame']:g} µs a frame"
    )
    for name, note in figures.notes.items():
        console.print(f"{name}: {note}")


_ROWS = (
    ("a game's update: gateway", "gateway_us_per_game_update", "µs"),
    ("… Envoy", "edge_us_per_game_update", "µs"),
    ("… workers, for an update of a topic", "aggregate_us_per_topic_update", "µs"),
    ("… workers, for a flush", "aggregate_us_per_flush", "µs"),
    ("a game's update: Nchan", "nchan_us_per_game_update", "µs"),
    ("… Socket.IO", "socketio_us_per_game_update", "µs"),
    ("ours beside Nchan", "vs_nchan_games", "×"),
    ("ours beside Socket.IO", "vs_socketio_games", "×"),
    ("vote to screen, p50", "p50_ms", "ms"),
    ("vote to screen, p99", "p99_ms", "ms"),
    ("… beside a game with 20,000 votes/s, p99", "neighbour_p99_ms", "ms"),
    ("all viewers at once", "join_s", "s"),
    ("… turned away", "join_errors", ""),
    ("gateway, nothing happens", "idle_gateway_cpu", "cores"),
    ("games defined", "define_per_s", "/s"),
    ("memory for each 1,000 games that came and went", "churn_rss_kib_per_1000_games", "KiB"),
)
