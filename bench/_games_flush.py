"""What a flush costs the workers by itself: the same votes in one partition, and spread over all of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

import nats
from nats.aio.msg import Msg

from bench._child import BenchChild
from bench._games_figures import FlushCost
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids

RATE = 5_000.0
RESULTS = "results.>"
_LEAD_S = 0.5

Spent = Callable[[], Mapping[str, float]]
"""CPU seconds by process."""


def games_of_partitions() -> list[str]:
    """One for each partition, in their order."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < wire_bounds.PARTITIONS:
        name = f"flush-{number}"
        found.setdefault(ids.partition_of(name, "", 1), name)
        number += 1
    return [found[partition] for partition in sorted(found)]


async def flush_cost(
    one: BenchChild, every: BenchChild, cpu_s: Spent, nats_url: str, seconds: float
) -> FlushCost:
    """`one` sends votes in the game of one partition, `every` in one of each. Raises MeshError."""
    one_cpu_s, one_flushes = await _spent(one, 1, cpu_s, nats_url, seconds)
    all_cpu_s, all_flushes = await _spent(every, wire_bounds.PARTITIONS, cpu_s, nats_url, seconds)
    return FlushCost(one_cpu_s, one_flushes, all_cpu_s, all_flushes)


async def _spent(
    sender: BenchChild, games: int, cpu_s: Spent, nats_url: str, seconds: float
) -> tuple[float, int]:
    """CPU of the workers, and their flushes: each is a message, as one topic changes in each."""
    count = round(RATE * seconds) // games * games
    begin_us = time.monotonic_ns() // 1000 + round(1e6 * _LEAD_S)
    flushes = 0

    async def heard(_: Msg) -> None:
        nonlocal flushes
        flushes += 1

    client = await nats.connect(nats_url, name="bench-flushes")
    try:
        await client.subscribe(RESULTS, cb=heard)
        await client.flush()
        before = _workers(cpu_s())
        sent = json.loads(await asyncio.to_thread(sender.ask, f"0 {begin_us} {RATE} {count}"))
        assert not sent["refused"], sent["why"]
        await asyncio.sleep(_LEAD_S)
        return _workers(cpu_s()) - before, flushes
    finally:
        await client.close()


def _workers(cpu_s: Mapping[str, float]) -> float:
    return sum(s for name, s in cpu_s.items() if name.startswith("aggregate"))
