"""Services read the wall clock in mesh.wall_clock alone: whoever shifts it shifts all of a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from toolbox.local.provision import checkout

ROOT = checkout()
SERVICES = ("gateway", "ingest", "aggregate", "notify", "mesh")
ITSELF = ROOT / "mesh" / "wall_clock.py"
READS = {
    "time": {"time", "time_ns", "gmtime", "localtime", "ctime", "CLOCK_REALTIME"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def wall_clock_reads(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if node.attr in READS.get(name, ()):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{each.name}" for each in node.names if each.name in READS["time"])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("time.time()", ["time.time"]),
        ("def f(clock=time.time): ...", ["time.time"]),
        ("datetime.datetime.now(UTC)", ["datetime.datetime.now"]),
        ("from time import time_ns", ["time.time_ns"]),
        ("time.monotonic(); loop.time(); datetime.fromtimestamp(0)", []),
    ],
)
def test_a_read_is_seen(source: str, found: list[str]) -> None:
    assert list(wall_clock_reads(source)) == found


def test_services_read_the_wall_clock_in_one_place() -> None:
    found = {
        path.relative_to(ROOT): reads
        for folder in SERVICES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ITSELF and (reads := list(wall_clock_reads(path.read_text())))
    }
    assert not found, "use mesh.wall_clock"
