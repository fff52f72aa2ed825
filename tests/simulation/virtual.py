"""The modules of the shells, for as long as a history is played: their clocks are virtual, their network
is the model's, and what they log as a bug ends the history."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import tenacity

import aggregate.lease_session
import mesh.catalog.mesh_clock
import mesh.catalog.watch
import mesh.jetstream.walk
import mesh.redis.applied
import mesh.redis.results
import notify.firings
import notify.follower
import notify.reopening_consumer
from aggregate import bounds as aggregate_bounds
from aggregate.lease import Lease
from grandstand import fold
from tests.simulation.bus import ModelConsumer
from tests.simulation.loops import running_loop, running_loop_or_none
from tests.simulation.notice_streams import NoticeConsumer, NoticePull
from tests.simulation.pulls import ModelPull
from tests.simulation.scene import Heard
from tests.simulation.world import World

_SHELLS = ("aggregate", "ingest", "mesh", "notify")
_LEASE_POLL_S = 0.5
_RETENTION_LOOK_S = 0.7
_BARRIER_WAIT_S = 0.1


class VirtualTime:
    """What the shells use of `time`: each process has a wall clock and a BOOTTIME of its own."""

    CLOCK_BOOTTIME = CLOCK_MONOTONIC = 0

    def time(self) -> float:
        return _process().clock.now_s

    def time_ns(self) -> int:
        return int(_process().clock.now_s * 1e9)

    def monotonic(self) -> float:
        return _process().boot_s

    def clock_gettime(self, clock: int) -> float:
        return _process().boot_s


def _process() -> Any:
    return running_loop().process


def _lapsed(lease: Lease) -> bool:
    return _process().checks_lease and _REAL_LAPSED.fget(lease)


_REAL_LAPSED: Any = Lease.lapsed


class _Bugs(logging.Handler):
    """What a shell survives and logs with its exception is a bug all the same."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._world.fail(record.exc_info[1])


@contextlib.contextmanager
def shells_in(world: World, more: Sequence[tuple[object, str, object]] = ()) -> Iterator[None]:
    """`more`: what else is another meanwhile: of what, its name, and what it is instead."""
    time = VirtualTime()
    patches: list[tuple[Any, str, Any]] = [
        (mesh.catalog.watch, "OrderedConsumer", ModelConsumer),
        (aggregate.lease_session, "Pull", ModelPull),
        (mesh.jetstream.walk, "Pull", NoticePull),
        (notify.follower, "Pull", NoticePull),
        (notify.firings, "OrderedConsumer", NoticeConsumer),
        (notify.reopening_consumer, "OrderedConsumer", NoticeConsumer),
        (tenacity, "time", time),
        (tenacity.wait, "random", world.random),
        (Lease, "lapsed", property(_lapsed)),
        (asyncio, "get_running_loop", running_loop),
        (asyncio.events, "get_running_loop", running_loop),
        (asyncio.events, "_get_running_loop", running_loop_or_none),
        (fold, "find", lambda name: Heard),
        (fold, "names", lambda: frozenset({"heard"})),
        (aggregate_bounds, "LEASE_POLL_S", _LEASE_POLL_S),
        (aggregate_bounds, "RETENTION_LOOK_S", _RETENTION_LOOK_S),
        (mesh.redis.applied, "FIRST_WAIT_S", _BARRIER_WAIT_S),
        (mesh.redis.applied, "WAIT_MAX_S", 4 * _BARRIER_WAIT_S),
        (mesh.redis.results, "_FOLDED_ANEW_WAIT_S", 2 * _BARRIER_WAIT_S),
    ]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _SHELLS and getattr(module, "time", None).__class__.__name__ == "module":
            patches.append((module, "time", time))
        if name.partition(".")[0] in _SHELLS and hasattr(module, "boot_s"):
            patches.append((module, "boot_s", time.monotonic))
        if name.partition(".")[0] == "notify" and hasattr(module, "random"):
            patches.append((module, "random", world.random))
    patches += more
    kept = [(target, name, getattr(target, name)) for target, name, _ in patches]
    loggers = [logging.getLogger(name) for name in _SHELLS]
    logged = [(logger.level, logger.propagate) for logger in loggers]
    handler = _Bugs(world)
    for target, name, value in patches:
        setattr(target, name, value)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)
        for target, name, value in kept:
            setattr(target, name, value)
        for logger, (level, propagate) in zip(loggers, logged, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
            logger.removeHandler(handler)
