"""What the arguments of benchmarks have in common."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path


def add_home(parser: argparse.ArgumentParser) -> None:
    home = os.environ.get("GRANDSTAND_HOME")
    parser.add_argument(
        "--home", type=Path, default=Path(home) if home else None, help="of the mesh to measure"
    )


def check_least(
    parser: argparse.ArgumentParser, asked: argparse.Namespace, bounds: Iterable[tuple[str, float]]
) -> None:
    """Ends the program with one line if an argument is less than it has to be."""
    for name, least in bounds:
        if getattr(asked, name) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(asked, name)}: at least {least:g} is needed")
