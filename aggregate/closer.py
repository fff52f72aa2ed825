"""Takes the steps of closing and of seasons when they are due; the shell around aggregate.agenda.

Every instance of aggregate runs one. Steps are idempotent (see aggregate.catalog), so they
need not agree who takes one, and none is missed while any of them lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from aggregate.agenda import Agenda
from aggregate.catalog import CatalogWriter
from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from mesh.catalog import CatalogWatch
from mesh.errors import GrandstandError

log = logging.getLogger(__name__)

_IDLE_S = 1.0


class Closer:
    """Takes the due steps of closing and of seasons, also those a stopped instance left behind."""

    def __init__(self, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self._watch = watch
        self._writer = writer
        self._agenda = Agenda()
        self._changed = asyncio.Event()

    def hear(self, definition: Game | Poll | Board) -> None:
        """The catalog changed; a step may have become due earlier."""
        if not isinstance(definition, Game):
            self._agenda.put(definition, time.time())
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; the watch has started."""
        topics: list[Poll | Board] = [*self._watch.view.polls(), *self._watch.view.boards()]
        for topic in topics:
            self._agenda.put(topic, time.time())
        while True:
            self._changed.clear()
            due_at_s = self._agenda.next_due_at_s()
            wait_s = _IDLE_S if due_at_s is None else min(_IDLE_S, due_at_s - time.time())
            if wait_s <= 0:
                step = self._agenda.take()
                try:
                    await self._writer.advance(step)
                except GrandstandError as error:
                    log.warning("step %s has to wait: %s", step.name, error)
                    self._agenda.failed(step)
                    wait_s = _IDLE_S
                else:
                    self._agenda.done(step, time.time())
                    continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)
