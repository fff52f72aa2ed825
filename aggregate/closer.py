"""Closes and seals polls and boards, and turns seasons, when it is time; the shell around
aggregate.deadlines.

Every instance of aggregate runs a Closer. Steps are idempotent (see aggregate.catalog), so the instances need
not agree on who takes a step, and no step is missed while one of them is alive.

Bound: _STEPS_MAX steps under way; further due steps wait. So a partition without an owner delays only its own
topics, unless _STEPS_MAX of them are due.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aggregate.catalog import CatalogWriter
from aggregate.closing import Step
from aggregate.deadlines import Deadlines
from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire import tasks
from grandstand.wire.errors import GrandstandError
from mesh.catalog.watch import CatalogWatch

log = logging.getLogger(__name__)

_IDLE_S = 1.0
_STEPS_MAX = 64


class Closer:
    """Takes due steps, also those that a stopped instance left behind."""

    def __init__(self, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self._watch = watch
        self._writer = writer
        self._deadlines = Deadlines()
        self._changed = asyncio.Event()
        self._steps: set[asyncio.Task[None]] = set()

    def hear(self, definition: Game | Poll | Board | None) -> None:
        """The catalog changed; another step may be due earlier. None: something was deleted."""
        if isinstance(definition, Poll | Board):
            self._deadlines.put(definition, self._watch.clock.now())
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; the watch has started."""
        clock = self._watch.clock
        topics: list[Poll | Board] = [*self._watch.view.polls(), *self._watch.view.boards()]
        for topic in topics:
            self._deadlines.put(topic, clock.now())
        try:
            while True:
                self._changed.clear()
                while (
                    len(self._steps) < _STEPS_MAX and (step := self._deadlines.take(clock.now())) is not None
                ):
                    task = asyncio.create_task(self._take(step))
                    self._steps.add(task)
                    task.add_done_callback(self._over)
                is_full = len(self._steps) >= _STEPS_MAX
                wait_s = _IDLE_S if is_full else min(_IDLE_S, max(0.0, self._deadlines.wait_s(clock.now())))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
        finally:
            await tasks.end(*self._steps)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._steps.discard(task)
        self._changed.set()

    async def _take(self, step: Step) -> None:
        try:
            await self._writer.advance(step)
        except GrandstandError as error:
            log.info("step %s has to wait: %s", step.name, error)
            self._deadlines.failed(step, self._watch.clock.now())
        except Exception:
            log.exception("step %s failed", step.name)
            self._deadlines.failed(step, self._watch.clock.now())
        else:
            self._deadlines.done(step, self._watch.clock.now())
