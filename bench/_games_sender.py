"""Sends votes in thousands of games, in a process of its own:

    python -m bench._games_sender ours PORT GAMES HOME        (bench._games_votes)
    python -m bench._games_sender nchan PORT GAMES BYTES      (bench._games_tell)
    python -m bench._games_sender socket-io PORT GAMES BYTES

GAMES: see `games_in`. It answers each line `BASE AT RATE COUNT` (`bench._games_schedule`) by one JSON object,
once they are all acked.
"""

from __future__ import annotations

import json
import select
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench._child import READY
from bench._games_schedule import Schedule, keep
from bench._games_tell import Teller
from bench._games_votes import Voter, games_in
from bench._h2 import H2Error

_LOOK_S = 0.5


class Sends(Protocol):
    refused: dict[str, int]

    def send(self, first: int, base: int, count: int) -> int:
        """How many of the `count` votes that are due it took, the phase's `first` the first."""

    def turn(self, wait_s: float) -> None:
        """What else there is to do, for so long."""

    def finish(self) -> None:
        """Until all are acked."""


def serve(sender: Sends, games: int) -> None:
    print(READY, flush=True)
    while True:
        if not select.select([sys.stdin], [], [], _LOOK_S)[0]:
            sender.turn(0.0)
            continue
        line = sys.stdin.readline()
        if not line:
            return
        base, begin_us, rate, count = line.split()
        print(json.dumps(_phase(sender, Schedule(games, int(base), int(begin_us), float(rate)), int(count))))
        sys.stdout.flush()


def _phase(sender: Sends, schedule: Schedule, count: int) -> dict[str, Any]:
    refused, own_s, began_s = sum(sender.refused.values()), time.process_time(), time.monotonic()
    late_s = keep(schedule, count, partial(_send, sender, schedule.base), sender.turn)
    sender.finish()
    return {
        "sent": count,
        "refused": sum(sender.refused.values()) - refused,
        "why": next(iter(sender.refused), ""),
        "late_ms": round(1_000 * late_s, 1),
        "took_s": time.monotonic() - began_s,
        "cpu_s": round(time.process_time() - own_s, 3),
    }


def _send(sender: Sends, base: int, first: int, count: int) -> int:
    return sender.send(first, base, count)


def _sender(kind: str, port: int, games: list[str], rest: str) -> Sends:
    if kind == "ours":
        return Voter(port, Path(rest), games)
    return Teller(port, games, int(rest), by_post=kind == "nchan")


def main() -> None:
    kind, port, games, rest = sys.argv[1:]
    names = games_in(games)
    try:
        serve(_sender(kind, int(port), names, rest), len(names))
    except (H2Error, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
