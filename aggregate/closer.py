"""Closes and seals polls, boards and games, turns seasons, and forgets games, when it is time; the shell
around aggregate.deadlines. Ends games that are idle; the shell around aggregate.idle_games. Deletes polls and
boards that came back after their game was forgotten (see aggregate.game_lives).

Every instance of aggregate runs a Closer. Steps are idempotent (see aggregate.catalog), so the instances need
not agree on who takes a step, and no step is missed while one of them is alive.

Bounds: _STEPS_MAX steps under way; further due steps wait. So a partition without an owner delays only its
own topics, unless _STEPS_MAX of them are due. _LOOKS_MAX games, and as many strays, are looked at at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from itertools import chain, islice

from aggregate.catalog import CatalogWriter
from aggregate.closing import Step, key_of
from aggregate.deadlines import Deadlines
from aggregate.game_lives import idle_for_s, is_stray
from aggregate.idle_games import IdleGames
from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire import tasks
from grandstand.wire.errors import GrandstandError
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects

log = logging.getLogger(__name__)

_IDLE_S = 1.0
_STEPS_MAX = 64
_LOOKS_MAX = 2
_LOOK_AGAIN_S = 60.0


class Closer:
    """Takes due steps, also those that a stopped instance left behind."""

    def __init__(
        self, watch: CatalogWatch, writer: CatalogWriter, forget_after_s: float | None = None
    ) -> None:
        """`forget_after_s`: see aggregate.closing.game_step_of."""
        self._watch = watch
        self._writer = writer
        self._deadlines = Deadlines(forget_after_s)
        self._idle = IdleGames()
        self._looks: set[asyncio.Task[None]] = set()
        self._strays: dict[str, float] = {}
        """Keys of polls and boards that may be of a forgotten game, and when to look, by the mesh's clock."""
        self._changed = asyncio.Event()
        self._steps: set[asyncio.Task[None]] = set()

    def hear(self, key: str, definition: Game | Poll | Board | None) -> None:
        """The catalog changed; another step may be due earlier. None: it was deleted."""
        self._writer.lives.hear()
        if definition is None:
            self._deadlines.drop(key)
            self._idle.drop(key.partition(".")[2])
            self._strays.pop(key, None)
            return
        self._put(definition, self._watch.view.generation(definition.game_id))
        self._changed.set()

    def _put(self, definition: Game | Poll | Board, generation: int) -> None:
        """`generation`: of the game that is known under its id; 0: none is."""
        self._deadlines.put(definition, self._watch.clock.now())
        if isinstance(definition, Game):
            self._idle.put(definition, idle_for_s(definition))
        elif is_stray(definition, generation):
            self._strays[key_of(definition)] = 0.0

    async def run(self) -> None:
        """Until cancelled; the watch has started."""
        clock = self._watch.clock
        view = self._watch.view
        definitions: Iterable[Game | Poll | Board] = chain(view.games(), view.polls(), view.boards())
        generations: dict[str, int] = {}
        for definition in definitions:
            if isinstance(definition, Game):
                generations[definition.game_id] = definition.generation
            self._put(definition, generations.get(definition.game_id, 0))
        try:
            while True:
                self._changed.clear()
                self._look_at_idle(clock.now_s())
                self._look_at_strays(clock.now_s())
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
            await tasks.end(*self._steps, *self._looks)

    def _look_at_idle(self, now_s: float) -> None:
        while len(self._looks) < _LOOKS_MAX and (game_id := self._idle.take(now_s)) is not None:
            self._begin_look(self._look(game_id))

    def _look_at_strays(self, now_s: float) -> None:
        due = (key for key, at_s in self._strays.items() if at_s <= now_s)
        for key in list(islice(due, max(0, 2 * _LOOKS_MAX - len(self._looks)))):
            del self._strays[key]
            self._begin_look(self._erase_stray(key))

    def _begin_look(self, look: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(look)
        self._looks.add(task)
        task.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looks.discard(task)
        self._changed.set()

    async def _look(self, game_id: str) -> None:
        game = self._watch.view.get(subjects.game_key(game_id))
        if not isinstance(game, Game):
            return
        try:
            self._idle.active(game_id, await self._writer.lives.end_if_idle(game, idle_for_s(game)))
        except GrandstandError as error:
            log.info("whether game %s is idle has to wait: %s", game_id, error, extra={"game": game_id})
            self._idle.again(game_id, self._watch.clock.now_s() + _LOOK_AGAIN_S)
        except Exception:
            log.exception("whether game %s is idle is not known", game_id, extra={"game": game_id})
            self._idle.again(game_id, self._watch.clock.now_s() + _LOOK_AGAIN_S)

    async def _erase_stray(self, key: str) -> None:
        try:
            await self._writer.lives.erase_orphan(key)
        except GrandstandError as error:
            log.info("whether the game of %s was forgotten has to wait: %s", key, error)
            self._strays[key] = self._watch.clock.now_s() + _LOOK_AGAIN_S
        except Exception:
            log.exception("whether the game of %s was forgotten is not known", key)

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
