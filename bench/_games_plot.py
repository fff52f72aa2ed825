"""The plot of the benchmark of many games: cost and latency over the number of games, as SVG. Pure.

Two panels with the same horizontal axis; both axes are logarithmic. Each line is named at its end, next to
its last value. Colours: see `bench._fanout_plot`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench._fanout_plot import GRID, LABEL_GAP, short, text_at
from bench._games_figures import GamesTurn

WIDTH, PANEL = 860, 300
LEFT, RIGHT, TOP, GAP, BOTTOM = 76, 230, 70, 46, 52
BLUE, ORANGE, GREEN = "#2f81f7", "#d4742c", "#2ea043"


class GamesLine(NamedTuple):
    label: str
    colour: str
    points: Sequence[tuple[int, float]]
    """Games, and the value there; more than 0."""


Step = tuple[GamesTurn, GamesTurn]
"""Loaded and calm, at one number of games."""


def plot(ladder: Sequence[Step]) -> str:
    """A whole SVG document."""
    cost = [
        _line("gateway", BLUE, ladder, lambda loaded, _: loaded.us_per_update("gateway")),
        _line("Envoy", ORANGE, ladder, lambda loaded, _: loaded.us_per_update("envoy")),
        _line("workers", GREEN, ladder, lambda loaded, _: loaded.us_per_vote("aggregate")),
    ]
    latency = [
        _line("p99", ORANGE, ladder, lambda _, calm: calm.p99_ms),
        _line("p50", BLUE, ladder, lambda _, calm: calm.p50_ms),
    ]
    height = TOP + 2 * PANEL + GAP + BOTTOM
    rate = ladder[-1][0].rate_per_s
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Cost and latency over the number of games</title>",
        text_at(LEFT, 24, "Thousands of games at once", size=16, weight=600),
        text_at(LEFT, 46, f"µs of CPU for a game's update, at {rate:g} votes a second in each game"),
    ]
    parts += _panel(cost, TOP)
    parts.append(
        text_at(LEFT, TOP + PANEL + GAP - 12, "vote to screen, in ms, at 1 vote a second in each game")
    )
    parts += _panel(latency, TOP + PANEL + GAP)
    parts.append(text_at((LEFT + WIDTH - RIGHT) / 2, height - 10, "games", anchor="middle"))
    return "\n".join([*parts, "</svg>", ""])


def _line(
    label: str, colour: str, ladder: Sequence[Step], value: Callable[[GamesTurn, GamesTurn], float]
) -> GamesLine:
    return GamesLine(
        label, colour, [(loaded.games, max(0.1, value(loaded, calm))) for loaded, calm in ladder]
    )


def _panel(lines: Sequence[GamesLine], top: float) -> list[str]:
    values = [value for line in lines for _, value in line.points]
    counts = sorted({games for line in lines for games, _ in line.points})
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    first, last = math.log10(counts[0]), math.log10(counts[-1])

    def x(games: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(games) - first) / max(1e-9, last - first)

    def y(value: float) -> float:
        return top + PANEL * (1 - (math.log10(value) - low) / (high - low))

    parts = []
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(
            f'<line x1="{LEFT}" x2="{x(counts[-1]):.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>'
        )
        parts.append(text_at(LEFT - 8, at + 4, short(10.0**power), anchor="end"))
    parts += [text_at(x(games), top + PANEL + 20, f"{games:,}", anchor="middle") for games in counts]
    below = -math.inf
    for line in sorted(lines, key=lambda line: y(line.points[-1][1])):
        path = " ".join(f"{x(games):.1f},{y(value):.1f}" for games, value in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2.2"/>')
        games, value = line.points[-1]
        below = max(y(value), below + LABEL_GAP)
        parts.append(text_at(x(games) + 12, below + 4, f"{line.label}, {short(value)}", colour=line.colour))
    return parts
