"""Takes the steps of closing and of seasons when they are due; the shell around aggregate.deadlines.

Every instance of aggregate runs one. Steps are idempotent (see aggregate.catalog), so they
need not agree who takes one, and none is missed while any of them lives.

Bound: _STEPS_MAX steps under way; those that are due besides wait. So a partition whose fold is away holds up
its own topics, and no others until there are so many.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aggregate.catalog import CatalogWriter
from aggregate.closing import Step
from aggregate.deadlines import Agenda
from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire import tasks
from mesh.catalog.watch import CatalogWatch
from mesh.errors import GrandstandError

log = logging.getLogger(__name__)

_IDLE_S = 1.0
_STEPS_MAX = 64


class Closer:
    """Takes the due steps of closing and of seasons, also those a stopped instance left behind."""

    def __init__(self, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self._watch = watch
        self._writer = writer
        self._agenda = Agenda()
        self._changed = asyncio.Event()
        self._steps: set[asyncio.Task[None]] = set()

    def hear(self, definition: Game | Poll | Board) -> None:
        """The catalog changed; a step may have become due earlier."""
        if not isinstance(definition, Game):
            self._agenda.put(definition, self._watch.clock.now())
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; the watch has started."""
        clock = self._watch.clock
        topics: list[Poll | Board] = [*self._watch.view.polls(), *self._watch.view.boards()]
        for topic in topics:
            self._agenda.put(topic, clock.now())
        try:
            while True:
                self._changed.clear()
                while len(self._steps) < _STEPS_MAX and (step := self._agenda.take(clock.now())) is not None:
                    task = asyncio.create_task(self._take(step))
                    self._steps.add(task)
                    task.add_done_callback(self._over)
                is_full = len(self._steps) >= _STEPS_MAX
                wait_s = _IDLE_S if is_full else min(_IDLE_S, max(0.0, self._agenda.wait_s(clock.now())))
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
            self._agenda.failed(step, self._watch.clock.now())
        except Exception:
            log.exception("step %s failed", step.name)
            self._agenda.failed(step, self._watch.clock.now())
        else:
            self._agenda.done(step, self._watch.clock.now())
