"""The plot of the fan-out benchmark: frames a CPU second over viewers, as SVG. Pure.

Colours are of middling brightness on no background, so that they can be read on GitHub's light page and on
its dark one. The vertical axis is logarithmic: what is compared differs by factors. Each line is named at
its end, next to its last value.

Rejected: matplotlib, 50 MB of wheels to fetch for one picture of four or five lines; CSS that asks for the
colour scheme, which in an image follows the reader's system and not the page it stands on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from xml.sax.saxutils import escape

from bench._fanout_figures import Curve, FanoutFigures

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 250, 64, 52
TEXT, GRID = "#808891", "#80889138"
COLOURS = {
    "our gateway": "#2f81f7",
    "our gateway and Envoy": "#2f81f7",
    "grpc.aio gateway": "#d4742c",
    "grpc.aio gateway and Envoy": "#d4742c",
    "Nchan": "#2ea043",
    "Socket.IO": "#a371f7",
}
DASHED = {"our gateway and Envoy", "grpc.aio gateway and Envoy"}
LABEL_GAP = 17


def plot(figures: FanoutFigures) -> str:
    """A whole SVG document."""
    curves = figures.curves()
    values = [value for curve in curves for _, value in curve.points]
    low = 10 ** math.floor(math.log10(min(values)))
    high = next(step for step in _steps(low) if step > max(values))
    most = max(viewers for curve in curves for viewers, _ in curve.points)

    def x(viewers: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * viewers / most

    def y(value: float) -> float:
        share = math.log10(value / low) / math.log10(high / low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Frames a CPU second over viewers</title>",
        text_at(LEFT, 24, "Frames to screens, for each second of CPU", size=16, weight=600),
        text_at(LEFT, 44, _told(figures)),
    ]
    parts += _rules(low, high, x(most), y)
    for viewers in sorted({viewers for curve in curves for viewers, _ in curve.points}):
        parts.append(text_at(x(viewers), HEIGHT - BOTTOM + 20, f"{viewers:,}", anchor="middle"))
    parts.append(text_at((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "viewers", anchor="middle"))
    for curve in curves:
        parts.append(_line(curve, [(x(viewers), y(value)) for viewers, value in curve.points]))
    parts += _labels(curves, [y(curve.points[-1][1]) for curve in curves], x(most) + 12)
    return "\n".join([*parts, "</svg>", ""])


def _told(figures: FanoutFigures) -> str:
    found = figures.as_json()
    return (
        f"{figures.rate_per_s:g} frames/s of {figures.frame_bytes} bytes to each viewer, over loopback; "
        f"{found['cores']} cores; logarithmic"
    )


def _rules(low: float, high: float, right: float, y: Callable[[float], float]) -> list[str]:
    parts = []
    for value in itertools.takewhile(lambda value: value <= high, _steps(low)):
        at = y(value)
        is_power = math.log10(value).is_integer()
        dashes = "" if is_power else ' stroke-dasharray="2 4"'
        parts.append(
            f'<line x1="{LEFT}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"{dashes}/>'
        )
        parts.append(text_at(LEFT - 8, at + 4, short(value), anchor="end"))
    return parts


def _steps(low: float) -> Iterator[float]:
    """1, 2 and 5 times each power of ten from there."""
    for power in itertools.count():
        yield from (low * 10**power * step for step in (1, 2, 5))


def _line(curve: Curve, points: Sequence[tuple[float, float]]) -> str:
    colour = COLOURS[curve.label]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="7 4"' if curve.label in DASHED else ""
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2"{dashes}/>{dots}'


def _labels(curves: Sequence[Curve], wanted: Sequence[float], x: float) -> list[str]:
    """Next to the ends of their lines, apart by LABEL_GAP at least: pushed down, and all up if need be."""
    order = sorted(range(len(curves)), key=lambda at: wanted[at])
    placed: dict[int, float] = {}
    at_least = 0.0
    for at in order:
        placed[at] = max(wanted[at], at_least)
        at_least = placed[at] + LABEL_GAP
    over = max(0.0, at_least - LABEL_GAP - (HEIGHT - BOTTOM))
    for at in reversed(order) if over else ():
        placed[at] = min(placed[at], HEIGHT - BOTTOM - LABEL_GAP * (len(order) - 1 - order.index(at)))
    return [
        text_at(
            x, placed[at] + 4, f"{curve.label}, {short(curve.points[-1][1])}", colour=COLOURS[curve.label]
        )
        for at, curve in enumerate(curves)
    ]


def short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def text_at(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    weight: int = 400,
    anchor: str = "start",
    colour: str = TEXT,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
