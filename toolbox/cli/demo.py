"""`python -m toolbox.cli.demo`: the demo game's process, as the supervisor starts it.

    python -m toolbox.cli.demo --edge 127.0.0.1:8080 --mesh 127.0.0.1:8081 [--game demo] --home .grandstand

Its tokens are signed with the development key of --home; elsewhere, GRANDSTAND_TOKEN holds an owner's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from pathlib import Path

from mesh.logs.line import LEVELS
from mesh.logs.setup import set_up
from toolbox.load import demo
from toolbox.local.development import owner_token


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m toolbox.cli.demo", description="Keeps the demo game alive."
    )
    parser.add_argument("--edge", default="127.0.0.1:8080", help="where viewers connect")
    parser.add_argument("--mesh", default="127.0.0.1:8081", help="where the catalog is served")
    parser.add_argument("--game", default="demo")
    parser.add_argument("--home", type=Path, help="whose development key signs the crowd's tokens")
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    arguments = parser.parse_args()
    set_up("demo", arguments.log_level)
    token = owner_token(arguments.home, "demo") if arguments.home else os.environ.get("GRANDSTAND_TOKEN")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(demo.run(arguments.edge, arguments.mesh, arguments.game, token))


if __name__ == "__main__":
    main()
