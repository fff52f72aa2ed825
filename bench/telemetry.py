"""What metrics and traces cost: the hot paths with and without them, in turns, in one process.

    metrics           with them, against the same code without (bench._without); traces are off
    tracing off       as a process runs that has neither collector nor admin port, against the same without
    tracing default   as `up --production --traces` runs: each thing names a context, SHARE of them sampled,
                      spans are kept and exported to a collector that takes nothing; against the same without

For each path (bench._telemetry_paths) a round plays all of these in turns, each the same number of units,
twice: the first time the interpreter has to learn the code again, the second is measured. CPU is the
process's own. A figure is the mean over the rounds of what a unit costs more, in percent, with its 95 %
interval (Student's t): `…_lower` and `…_upper`.

The three named figures are of a mix, MIX: what a second of a game costs in which a thousand viewers watch and
2,000 votes come by Send, which lie in 100 blocks of ten and 20 of one, of which each is folded and flushed,
and shown in 20 frames. Garbage is collected between the plays, not within them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench import _telemetry_marks as marks
from bench._arguments import check_least
from bench._say import say, say_nothing
from bench._telemetry_paths import FanOutPath, FoldPath, HotPath, IngestPath, SendPath
from bench._tracing_on import tracing_on
from bench._virtual_loop import VirtualLoop
from bench._without import Without
from toolbox.cli.console import one_line_errors
from toolbox.cli.trace_share import PRODUCTION_TRACE_SHARE as SHARE

MIX: Mapping[str, int] = {
    "ingest_one_message": 20,
    "ingest_ten_messages": 100,
    "fold_flush": 120,
    "fan_out_frame": 20,
    "send": 2_000,
}
"""Units of each path."""

PLAIN, NO_METRICS, NO_TRACES, TRACED = "plain", "no metrics", "no traces", "traced"
FIGURES = {
    "metrics_overhead_pct": (PLAIN, NO_METRICS),
    "tracing_overhead_pct_default": (TRACED, NO_TRACES),
    "tracing_overhead_pct_off": (PLAIN, NO_TRACES),
}
"""What is compared with what."""
WANTED = {"metrics_overhead_pct": 3.0, "tracing_overhead_pct_default": 5.0, "tracing_overhead_pct_off": 1.0}
# Student's t, two-sided 95 %, by degrees of freedom.
_T = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    7: 2.365,
    9: 2.262,
    14: 2.145,
    19: 2.093,
    29: 2.045,
    59: 2.001,
}
Costs = dict[str, dict[str, list[float]]]
"""µs a unit: by path and way, of each round."""


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % interval."""
    mean = statistics.mean(values)
    freedom = len(values) - 1
    if freedom < 1:
        return mean, -math.inf, math.inf
    t = _T[max(each for each in _T if each <= freedom)]
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


async def measure(loop: VirtualLoop, rounds: int, scale: float) -> Costs:
    def units(count: int) -> int:
        return max(10, int(count * scale))

    makes: dict[str, Callable[[bool], HotPath]] = {
        "ingest_one_message": lambda on: IngestPath(loop, 1, units(200), is_traced=on),
        "ingest_ten_messages": lambda on: IngestPath(loop, 10, units(100), is_traced=on),
        "fold_flush": lambda _: FoldPath(loop, units(200)),
        "fan_out_frame": lambda _: FanOutPath(loop, units(200)),
        "send": lambda on: SendPath(loop, units(1_000), is_traced=on),
    }
    no_metrics, no_traces = marks.metrics(), marks.traces()
    found: Costs = {}
    for name, make in makes.items():
        say(f"{name}: {rounds} rounds")
        path = make(False)
        with tracing_on():
            traced = make(True)
        gc.collect()
        gc.freeze()  # what is looked at before each play is what the last one left
        costs: dict[str, list[float]] = {way: [] for way in (PLAIN, NO_METRICS, NO_TRACES, TRACED)}
        for turn in range(-1, rounds):
            ways = [PLAIN, NO_METRICS, NO_TRACES, TRACED]
            for way in ways if turn % 2 else reversed(ways):
                spent_us = await _spent_us(way, traced if way == TRACED else path, no_metrics, no_traces)
                if turn >= 0:
                    costs[way].append(spent_us)
        found[name] = costs
        for each in (path, traced):
            if isinstance(each, SendPath):
                await each.stop()
    gc.unfreeze()
    return found


async def _spent_us(way: str, path: HotPath, no_metrics: Without, no_traces: Without) -> float:
    """A unit's."""
    share = SHARE if way == TRACED else None
    before, play = [path.prepare(share) for _ in range(2)]
    gc.collect()
    gc.disable()
    try:
        no_metrics.restore()
        no_traces.restore()
        with contextlib.ExitStack() as stack:
            stack.enter_context(tracing_on(way == TRACED))
            if way == NO_METRICS:
                stack.enter_context(no_metrics.applied())
            if way == NO_TRACES:
                stack.enter_context(no_traces.applied())
            await before()
            began_s = time.process_time()
            await play()
            return (time.process_time() - began_s) * 1e6 / path.units
    finally:
        gc.enable()


def as_json(costs: Costs) -> dict[str, float]:
    found: dict[str, float] = {}
    for figure, (whole, lean) in FIGURES.items():
        rounds = range(len(next(iter(costs.values()))[whole]))
        of_mix = [
            sum(MIX[name] * each[whole][turn] for name, each in costs.items())
            / sum(MIX[name] * each[lean][turn] for name, each in costs.items())
            for turn in rounds
        ]
        _put(found, figure, of_mix)
        for name, each in costs.items():
            _put(found, f"{name}_{figure}", [a / b for a, b in zip(each[whole], each[lean], strict=True)])
    for name, each in costs.items():
        found[f"{name}_us"] = round(statistics.median(each[PLAIN]), 2)
    return found


def _put(found: dict[str, float], key: str, ratios: Sequence[float]) -> None:
    mean, lower, upper = (round(100 * (each - 1), 2) for each in interval(ratios))
    found[key], found[f"{key}_lower"], found[f"{key}_upper"] = mean, lower, upper


def show(found: Mapping[str, float]) -> None:
    table = Table(box=None, header_style="dim")
    for column in ("", "µs a unit", *(figure.replace("_overhead_pct", "") for figure in FIGURES)):
        table.add_column(column, justify="right" if column else "left")

    def shown(key: str) -> str:
        return f"{found[key]:+.1f} % [{found[f'{key}_lower']:+.1f}, {found[f'{key}_upper']:+.1f}]"

    for name in MIX:
        table.add_row(name, f"{found[f'{name}_us']:g}", *(shown(f"{name}_{figure}") for figure in FIGURES))
    table.add_row("the mix", "", *(shown(figure) for figure in FIGURES))
    table.add_row("wanted, upper", "", *(f"{WANTED[figure]:g} %" for figure in FIGURES))
    Console(highlight=False).print(table)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench telemetry",
        description="What metrics and traces cost the hot paths, in percent of CPU.",
        epilog="Example: ./grandstand bench telemetry --json",
    )
    parser.add_argument("--rounds", type=int, default=30, help="turns that each way takes (default 30)")
    parser.add_argument(
        "--quick", action="store_true", help="plays of a tenth, five rounds: to see that it works"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    check_least(parser, asked, (("rounds", 2),))
    return asked


def main() -> None:
    asked = parse()
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    with one_line_errors():
        rounds, scale = (5, 0.1) if asked.quick else (asked.rounds, 1.0)
        costs = loop.run_until_complete(measure(loop, rounds, scale))
    say_nothing()
    found = as_json(costs)
    if asked.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
