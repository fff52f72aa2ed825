"""Progress of a benchmark, on stderr: its figures go to stdout."""

from __future__ import annotations

import sys

_said = ""


def say(line: str) -> None:
    """Progress on stderr: one line that changes on a terminal, a line for each phase elsewhere."""
    global _said
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif (phase := line.partition(":")[0]) != _said:
        _said = phase
        print(line, file=sys.stderr, flush=True)


def say_nothing() -> None:
    """Clears the line on a terminal, at the end."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
