"""Notify processes: the real Keeper, Scheduler, Evaluator, Sender, Readers and Segments, two of each.

More hostile than the real process around them: nobody looks whether a notice was stored before it is sent
again, and a process may be stopped or die between any two requests to NATS or Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from grandstand.wire.errors import GrandstandError
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.notices.store import NoticeStore
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore
from notify.completeness import Completeness
from notify.evaluator import Evaluator
from notify.keeper import Keeper
from notify.quotas import Quotas
from notify.readers import Readers
from notify.scheduler import Scheduler
from notify.segments import Segments
from notify.sending import Sender
from tests.simulation.bus import ModelBus
from tests.simulation.mesh import Mesh
from tests.simulation.process import Process
from tests.simulation.redis import RedisClient

_BEAT_S = 1.0
_AGAIN_S = 0.5
_PATIENCE_S = 12.0


class ModelNotify(Process):
    def __init__(self, mesh: Mesh, name: str) -> None:
        super().__init__(mesh.world, name)
        self._mesh = mesh
        self.born()

    def born(self) -> None:
        self.sender: Sender | None = None
        self.spawn(self._run())

    def died(self) -> None:
        self.sender = None

    async def _run(self) -> None:
        """As notify.__main__ does."""
        bus: Any = ModelBus(self, self._mesh)
        database: Any = RedisClient(self, self._mesh.redis)
        heard: list[Callable[..., None]] = []
        watch = CatalogWatch(bus, lambda key, definition: [hear(key, definition) for hear in heard] and None)
        now_s = watch.clock.now_s
        quotas = Quotas(database)
        evaluator = Evaluator(bus, ResultStore(database), watch, self.name, quotas, now_s)
        heard.append(evaluator.changed)
        await watch.start()
        view = watch.view
        completeness = await Completeness.begin(bus)
        keeper = Keeper(
            bus,
            database,
            f"{self.name}/{self.life}",
            lambda game_id: subjects.game_key(game_id) in view,
            now_s,
        )
        scheduler = Scheduler(bus, quotas, now_s)
        self.segments = Segments(bus, database, keeper.applier, completeness)
        store = NoticeStore(database)
        self.readers = Readers(bus, store, keeper.applier, completeness, view.generation, now_s)
        for each in (keeper.run(), scheduler.run(), self._beat_on(bus), self._judge_on(evaluator)):
            self.spawn(each)
        self.sender = Sender(bus, watch, self.segments, scheduler.scheduled, quotas, now_s)

    async def _judge_on(self, evaluator: Evaluator) -> None:
        async with evaluator.open():
            self._mesh.told.takeovers_of_rules += 1
            await asyncio.Event().wait()

    async def _beat_on(self, bus: ModelBus) -> None:
        """As its health reports."""
        while True:
            await bus.client.publish(subjects.health("notify", self.name), b"")
            await asyncio.sleep(_BEAT_S)


class Caller(Process):
    """Who calls NotifyService: each wish is carried out by some process, sooner or later."""

    def __init__(self, mesh: Mesh, notifiers: list[ModelNotify]) -> None:
        super().__init__(mesh.world, "caller")
        self._notifiers = notifiers
        self.unfinished = 0

    def ask(
        self,
        wish: Callable[[ModelNotify], Coroutine[Any, Any, Any]],
        done: Callable[[Any], None] = lambda answer: None,
    ) -> None:
        """`wish` begins a call; `done` hears its answer, or the error that is for good."""
        self.unfinished += 1
        self._attempt(wish, done)

    def _attempt(
        self, wish: Callable[[ModelNotify], Coroutine[Any, Any, Any]], done: Callable[[Any], None]
    ) -> None:
        ready = [each for each in self._notifiers if each.is_up and each.sender is not None]
        settled = False

        def settle(answer: Any) -> None:
            nonlocal settled
            if settled:
                return
            settled = True
            is_error = isinstance(answer, GrandstandError | RedisError)
            if answer is None or (is_error and getattr(answer, "retryable", True)):
                self.then(lambda: self._attempt(wish, done), _AGAIN_S)
            else:
                self.unfinished -= 1
                done(answer)

        if not ready:
            settle(None)
            return
        at = self.world.random.choice(ready)

        async def call() -> None:
            answer: Any
            try:
                answer = await wish(at) or True
            except (GrandstandError, RedisError) as error:
                answer = error
            if not self.world.odds(0.05):
                self.then(lambda: settle(answer))

        at.then(lambda: at.spawn(call()))
        self.then(lambda: settle(None), 0.0, _PATIENCE_S)
