"""python -m tests.simulation --seed 7 --histories 500: plays histories, and says what they tried.

The last line is one JSON object. Ends non-zero at the first violation; its line on stderr begins
with the seed, and `--seed <it> --histories 1` plays the same again.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict

from tests.simulation.history import Rules, Told, Violation, play


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--histories", type=int, default=100)
    asked = parser.parse_args()
    told = Told()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # by default a tenth of the time goes into it
    try:
        for seed in range(asked.seed, asked.seed + asked.histories):
            told += play(seed, Rules())
    except Violation as violation:
        print(violation, file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"histories": asked.histories, **asdict(told), "kinds": sorted(told.kinds)}))


if __name__ == "__main__":
    main()
