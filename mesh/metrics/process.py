"""What every process measures of itself: its loop, its garbage collector, its memory and files."""

from __future__ import annotations

import asyncio
import gc
import platform
import time
from importlib import metadata

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from mesh.metrics import declarations
from mesh.metrics.histogram import Histogram
from mesh.metrics.registry import MetricRegistry

LOOK_S = 0.1
_GENERATIONS = 3


class ProcessWatch:
    """Between `start` and `stop`, on the running loop."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._lag_s = Histogram()
        self._pauses_s = {str(generation): Histogram() for generation in range(_GENERATIONS)}
        self._began_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        registry.info(
            declarations.BUILD,
            {"version": _version(), "python": platform.python_version()},
        )
        registry.histogram(declarations.LOOP_LAG, self._lag_s)
        registry.histogram(declarations.GC_PAUSE, lambda: self._pauses_s)
        own = CollectorRegistry()
        process, collections = ProcessCollector(registry=own), GCCollector(registry=own)
        registry.collector(declarations.PROCESS, lambda: iter(process.collect()))
        registry.collector(declarations.COLLECTIONS, lambda: iter(collections.collect()))

    def start(self) -> None:
        gc.callbacks.append(self._collects)
        self._again()

    def stop(self) -> None:
        gc.callbacks.remove(self._collects)
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + LOOK_S
        self._timer = loop.call_at(due_s, self._look, due_s)

    def _look(self, due_s: float) -> None:
        self._lag_s.observe(max(0.0, asyncio.get_running_loop().time() - due_s))
        self._again()

    def _collects(self, phase: str, found: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._began_s = now_s
        else:
            self._pauses_s[str(found["generation"])].observe(now_s - self._began_s)


def _version() -> str:
    """Of the installed release; "checkout" where none is installed."""
    try:
        return metadata.version("grandstand")
    except metadata.PackageNotFoundError:
        return "checkout"
