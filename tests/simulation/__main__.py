"""Plays histories, and says what they held: python -m tests.simulation --seed 7 --histories 500

The last line is one JSON object: the seeds from `seed` to before `to`, the violations among them, and how
often what happened. SIGINT and SIGTERM end the run with it. With --state it is kept in a file
meanwhile, from which the same command goes on later. Ends non-zero if there was a violation: each is a
line that begins with its seed; `--seed <it> --histories 1` plays the same again.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.simulation.history import Rules, Told, Violation, play

_IN_ONE_LIFE = 20
"""Histories that a process plays before it ends. It collects no garbage: 2 MB a history."""
_SAID_EVERY_S = 10.0


@dataclass
class Played:
    seed: int
    to: int
    violations: list[str] = field(default_factory=list)
    told: Told = field(default_factory=Told)

    def go_on(self, further: Played) -> None:
        self.to = further.to
        self.violations += further.violations
        self.told += further.told

    def as_json(self) -> str:
        told = {**asdict(self.told), "kinds": sorted(self.told.kinds)}
        of = {"seed": self.seed, "to": self.to, "histories": self.to - self.seed}
        return json.dumps({**of, "violations": self.violations, **told})

    @classmethod
    def from_json(cls, text: str) -> Played:
        given: dict[str, Any] = json.loads(text)
        told = Told(**{each.name: given[each.name] for each in fields(Told)})
        told.kinds = set(told.kinds)
        return cls(given["seed"], given["to"], given["violations"], told)


def play_from(seeds: range) -> Played:
    played = Played(seeds.start, seeds.stop)
    for seed in seeds:
        try:
            played.told += play(seed, Rules())
        except Violation as violation:
            played.violations.append(str(violation))
    return played


def play_all(seeds: range, processes: int) -> Iterator[Played]:
    """In the order of the seeds. Whoever stops early waits until the lives under way have ended.

    No multiprocessing.Pool: its end sends SIGTERM to a child that it has just started, and one whose
    Python is still beginning raises it where nobody listens, lives on, and is waited for without end.
    """
    lives = [
        range(first, min(first + _IN_ONE_LIFE, seeds.stop))
        for first in range(seeds.start, seeds.stop, _IN_ONE_LIFE)
    ]
    gc.freeze()
    with ThreadPoolExecutor(processes) as threads:
        yield from threads.map(play_in_one_life, lives)


def play_in_one_life(seeds: range) -> Played:
    """Raises EOFError if the process died."""
    context = multiprocessing.get_context("fork")
    answer, answers = context.Pipe(duplex=False)
    life = context.Process(target=live, args=(answers, seeds))
    life.start()
    answers.close()
    try:
        played: Played = answer.recv()
        return played
    finally:
        life.join()


def live(answers: Connection, seeds: range) -> None:
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    answers.send(play_from(seeds))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--state", type=Path, help="where it keeps what was played, and goes on from")
    asked = parser.parse_args()
    played = Played(asked.seed, asked.seed)
    if asked.state is not None and asked.state.exists():
        played = Played.from_json(asked.state.read_text())
        if played.seed != asked.seed:
            parser.error(f"{asked.state} began at seed {played.seed}, not at {asked.seed}: name another file")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began_at, began_s, said_s = played.to, time.monotonic(), 0.0
    end = asked.seed + asked.histories
    try:
        for further in play_all(range(played.to, end), asked.processes):
            played.go_on(further)
            for violation in further.violations:
                print(violation, file=sys.stderr, flush=True)
            now_s = time.monotonic()
            if now_s - said_s > _SAID_EVERY_S:
                said_s = now_s
                keep(played, asked.state)
                rate = (played.to - began_at) / (now_s - began_s)
                print(
                    f"{played.to - played.seed:,} of {asked.histories:,} histories, "
                    f"{len(played.violations)} violations, {rate:.1f} a second",
                    file=sys.stderr,
                    flush=True,
                )
    except KeyboardInterrupt:
        print(f"interrupted at seed {played.to}", file=sys.stderr)
    keep(played, asked.state)
    print(played.as_json())
    sys.exit(1 if played.violations else 0)


def keep(played: Played, state: Path | None) -> None:
    if state is not None:
        new = state.with_name(state.name + ".new")
        new.write_text(played.as_json() + "\n")
        new.replace(state)


if __name__ == "__main__":
    main()
