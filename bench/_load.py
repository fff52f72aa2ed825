"""The crowd of a benchmark, in a process of its own: `python -m bench._load` prints its summary as JSON.

Its own process, so that the measuring process has its event loop to itself: what it then sees is the
system's latency, not the time a frame waits while the same Python process plays two hundred viewers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from bench._mesh import owner
from toolbox.load.account import LoadPlan
from toolbox.load.simulate import Simulation


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("edge", "mesh", "game", "poll"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--viewers", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--home", type=Path, required=True, help="whose development key signs the tokens")
    asked = parser.parse_args()
    plan = LoadPlan(
        asked.edge, asked.mesh, asked.game, asked.viewers, asked.rate, asked.seconds, poll_id=asked.poll
    )
    summary = asyncio.run(Simulation(plan, token=owner(asked.home)).run())
    print(json.dumps(summary.as_json()))


if __name__ == "__main__":
    main()
