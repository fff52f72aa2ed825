"""Folding: how many votes one worker counts in a CPU second, beside a row loop and beside Bytewax.

    fold      blocks, as ingest writes them, decoded and folded by one partition: anti-replay windows, one
              vote an actor, one vote in fifty a resend
    row loop  the same fold fed one decoded protobuf event at a time (bench/_row_loop.py)
    Bytewax   the same tally written for Bytewax (bench/_bytewax_tally.py), installed for this run only

The three take turns, round after round, on the same votes, and each ratio is the median of the rounds'
ratios: what the machine does to one it does to all. All three must count the same voters. CPU is the
process's own, all threads. Beside it a bare tally in Bytewax (parsed beforehand, no windows, one vote an
event) is reported: what a stream processor costs when it does none of the work.

Then, against a Valkey of its own:

    flushed   all partitions of one worker fold and flush at once, as in the mesh: votes a second of wall
              clock, and what a vote costs either process
    games     a thousand games with a small poll each, every one voted in within each tick of
              FLUSH_INTERVAL_S: how long a tick takes to fold and flush, and how many took longer than a
              tick. `busy_games_…`: the same with five votes a game and tick, 200,000 a second
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aggregate.partition import Loaded, Partition
from bench._arguments import check_least
from bench._flush import FlushFigures, measure_flushes
from bench._row_loop import RowTally
from bench._say import say, say_nothing
from bench._votes import Votes, crowd
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import limits
from toolbox.cli.console import one_line_errors
from toolbox.local import provision
from toolbox.local.errors import MeshError
from toolbox.local.provision import ProvisionError


class FoldFigures:
    """By contestant: votes a CPU second in each round."""

    def __init__(self) -> None:
        self.fold: list[float] = []
        self.row_loop: list[float] = []
        self.bytewax: list[float] = []
        self.bytewax_bare: list[float] = []

    def ratio(self, other: list[float]) -> float | None:
        if not other:
            return None
        return round(statistics.median(a / b for a, b in zip(self.fold, other, strict=True)), 2)


def fold(votes: Votes) -> float:
    """Votes a CPU second of the real thing."""
    partition = Partition(0, Loaded(), salt=int.from_bytes(os.urandom(8)))
    partition.fold(1, votes.opening)
    began_s = time.process_time()
    for sequence, data in enumerate(votes.blocks, start=2):
        partition.fold(sequence, data)
    spent_s = time.process_time() - began_s
    flush = partition.take_flush()
    assert flush is not None
    _check("fold", Partial.FromString(flush.partials[0].encoded).tally.voters, votes)
    return votes.rows / spent_s


def row_loop(votes: Votes) -> float:
    tally = RowTally()
    began_s = time.process_time()
    for batch in votes.batches:
        tally.fold(batch)
    spent_s = time.process_time() - began_s
    _check("row loop", tally.voters, votes)
    return votes.rows / spent_s


def bytewax(votes: Votes, batches: Path, packages: Path) -> tuple[float, float]:
    """Of the same tally, and of a bare one. Raises MeshError."""
    path = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "bench._bytewax_tally", str(batches)],
        cwd=provision.checkout(),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MeshError(f"Bytewax failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    _check("Bytewax", found["voters"], votes)
    return found["events_per_cpu_s"], found["bare_events_per_cpu_s"]


def _check(name: str, voters: int, votes: Votes) -> None:
    if voters != votes.voters:
        raise MeshError(f"{name} counted {voters} voters of {votes.voters}")


def peer(wanted: bool) -> Path | None:
    """Where Bytewax is; None, with a line that says so, when it is not wanted or cannot be had."""
    try:
        if wanted:
            return provision.bytewax()
        reason = "--without-bytewax"
    except ProvisionError as error:
        reason = str(error)
    print(f"Bytewax is left out: {reason}", file=sys.stderr)
    return None


def compare(votes: Votes, rounds: int, packages: Path | None) -> FoldFigures:
    figures = FoldFigures()
    with tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder:
        batches = Path(folder) / "batches"
        batches.write_bytes(pickle.dumps(votes.batches))
        for turn in range(rounds):
            say(f"fold, row loop, Bytewax: round {turn + 1} of {rounds}")
            figures.fold.append(fold(votes))
            figures.row_loop.append(row_loop(votes))
            if packages is not None:
                same, bare = bytewax(votes, batches, packages)
                figures.bytewax.append(same)
                figures.bytewax_bare.append(bare)
    return figures


def as_json(figures: FoldFigures, flushes: FlushFigures) -> dict[str, float | int | None]:
    def middle(values: list[float]) -> int | None:
        return round(statistics.median(values)) if values else None

    return {
        "events_per_cpu_s": middle(figures.fold),
        "vs_row_loop": figures.ratio(figures.row_loop),
        "vs_bytewax": figures.ratio(figures.bytewax),
        "vs_bytewax_bare": figures.ratio(figures.bytewax_bare),
        "row_loop_events_per_cpu_s": middle(figures.row_loop),
        "bytewax_events_per_cpu_s": middle(figures.bytewax),
        "bytewax_bare_events_per_cpu_s": middle(figures.bytewax_bare),
        **flushes.as_json(),
        "cores": os.cpu_count() or 1,
    }


def show(found: dict[str, float | int | None]) -> None:
    table = Table(box=None, header_style="dim")
    for column in ("", "votes a CPU second", "fold is faster by"):
        table.add_column(column, justify="right" if column else "left")
    for name, key, ratio in (
        ("fold", "events_per_cpu_s", None),
        ("row loop", "row_loop_events_per_cpu_s", "vs_row_loop"),
        ("Bytewax, the same tally", "bytewax_events_per_cpu_s", "vs_bytewax"),
        ("Bytewax, a bare tally", "bytewax_bare_events_per_cpu_s", "vs_bytewax_bare"),
    ):
        speed, factor = found[key], found[ratio] if ratio else None
        table.add_row(name, f"{speed:,}" if speed else "-", f"{factor:g} ×" if factor else "")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"flushed to Valkey: {found['flushed_events_per_s']:,} votes/s "
        f"(CPU a vote: worker {found['flushed_worker_us']} µs, Valkey {found['flushed_valkey_us']} µs)"
    )
    for name in ("games", "busy_games"):
        console.print(
            f"{found['games']:,} games, {found[f'{name}_events_per_tick']:,} votes in each tick of "
            f"{found['tick_ms']:g} ms: a tick takes {found[f'{name}_tick_p50_ms']} ms, "
            f"p99 {found[f'{name}_tick_p99_ms']} ms, "
            f"{found[f'{name}_ticks_behind']} of {found[f'{name}_ticks']} too long"
        )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench fold",
        description="Votes counted in a CPU second, beside a row loop and Bytewax; with the flush to Valkey; "
        "and a thousand games in one worker.",
        epilog="Example: ./grandstand bench fold --json",
    )
    parser.add_argument("--blocks", type=int, default=100, help="blocks of votes in a round (default 100)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each one takes (default 5)")
    parser.add_argument("--games", type=int, default=1_000, help="games in one worker (default 1,000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of ticks for the games (default 5)")
    parser.add_argument("--without-bytewax", action="store_true", help="leave the peer out (no download)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    check_least(parser, asked, (("blocks", 1), ("rounds", 1), ("games", 1), ("seconds", 0.1)))
    return asked


def main() -> None:
    asked = parse()
    with one_line_errors():
        say("making votes")
        votes = crowd(asked.blocks, limits.BLOCK_EVENTS_MAX)
        figures = compare(votes, asked.rounds, peer(not asked.without_bytewax))
        flushes = asyncio.run(measure_flushes(asked.blocks, asked.games, asked.seconds, say))
    say_nothing()
    found = as_json(figures, flushes)
    if asked.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
