"""The benchmark of telemetry: its baselines lack the work and nothing else; its JSON has the named keys."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bench import telemetry
from bench._virtual_loop import VirtualLoop
from bench._without import Without
from ingest.publisher import BlockPublisher
from mesh.metrics.histogram import Histogram


class Counted:
    def __init__(self) -> None:
        self.seen = 0
        self.lengths = Histogram()
        self.done: list[str] = []

    async def work(self, given: str, cause: str = "") -> str:
        self.seen += 1
        with contextlib.nullcontext(cause) as span:
            if not cause or self.done:
                self.done.append(given)
            self.lengths.observe(len(given))
        if cause:
            return f"{given} {span}"
        return given


def test_a_function_without_a_part_of_its_work_does_the_rest_and_gets_it_back() -> None:
    lean = Without(
        [
            (
                Counted.work,
                {
                    "self.seen": None,
                    "self.lengths.observe": None,
                    "cause": "",
                    "contextlib.nullcontext": None,
                },
            )
        ]
    )
    counted = Counted()
    with lean.applied():
        assert asyncio.run(counted.work("a", "because")) == "a"
        assert (counted.seen, counted.lengths.count, counted.done) == (0, 0, ["a"])
    assert asyncio.run(counted.work("b", "because")) == "b because"
    assert (counted.seen, counted.lengths.count, counted.done) == (1, 1, ["a", "b"])


def test_a_mark_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"Counted\.work has no self\.gone"):
        Without([(Counted.work, {"self.gone": None})])


def test_an_interval_is_students() -> None:
    assert telemetry.interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 2.484, 2.0 + 2.484), abs=1e-3)


def test_a_short_run_finds_all_that_is_named() -> None:
    whole = BlockPublisher._store.__code__
    loop = VirtualLoop()
    try:
        costs = loop.run_until_complete(telemetry.measure(loop, 2, 0.01))
    finally:
        loop.close()
    found = telemetry.as_json(costs)
    for figure in telemetry.FIGURES:
        assert found[f"{figure}_lower"] <= found[figure] <= found[f"{figure}_upper"]
        assert all(f"{path}_{figure}_upper" in found for path in telemetry.MIX)
    assert all(found[f"{path}_us"] > 0 for path in telemetry.MIX)
    assert BlockPublisher._store.__code__ is whole
