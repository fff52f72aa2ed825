"""The catalog's writers: the real CatalogWatch, CatalogWriter, ControlPublisher and Closer, two of each.

A host asks any of them, and again until it is answered: to define games, to open topics, to close them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aggregate.catalog import CatalogWriter
from aggregate.closer import Closer
from aggregate.control_publisher import ControlPublisher
from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire.errors import GrandstandError
from mesh import limits
from mesh.catalog.watch import CatalogWatch
from mesh.redis.results import ResultStore
from tests.simulation.bus import ModelBus, ModelPipeline
from tests.simulation.mesh import Mesh
from tests.simulation.process import Process
from tests.simulation.redis import RedisClient

_AGAIN_S = 0.5
FORGET_AFTER_S = 1.0
"""After its end, but not before its seal."""


class ModelWriter(Process):
    def __init__(self, mesh: Mesh, name: str) -> None:
        super().__init__(mesh.world, name)
        self._mesh = mesh
        self.born()

    def born(self) -> None:
        self.writer: CatalogWriter | None = None
        self.spawn(self._run())

    async def _run(self) -> None:
        bus = ModelBus(self, self._mesh)
        closers: list[Closer] = []

        def hear(key: str, definition: Game | Poll | Board | None) -> None:
            for closer in closers:
                closer.hear(key, definition)

        watch = CatalogWatch(bus, hear, limits.VIEW_PROBE_S)  # type: ignore[arg-type]
        results = ResultStore(RedisClient(self, self._mesh.redis))  # type: ignore[arg-type]
        controls = ControlPublisher(bus, ModelPipeline(bus), results, watch.clock.now_s)  # type: ignore[arg-type]
        writer = CatalogWriter(bus, watch, controls, FORGET_AFTER_S)  # type: ignore[arg-type]
        await watch.start()
        self.writer = writer
        closers.append(Closer(watch, writer, FORGET_AFTER_S))
        await closers[0].run()

    def died(self) -> None:
        self.writer = None


class Host(Process):
    """Who runs the games: each wish is carried out by some writer, sooner or later."""

    def __init__(self, mesh: Mesh, writers: list[ModelWriter]) -> None:
        super().__init__(mesh.world, "host")
        self._writers = writers
        self.unfinished = 0

    def ask(
        self,
        wish: Callable[[CatalogWriter], Any],
        done: Callable[[Any], None] = lambda answer: None,
        *,
        insists: bool = False,
    ) -> None:
        """`wish` begins a call of the writer; `done` hears its answer, or the error that is for good.
        `insists`: none is; a writer whose view is old may know nothing of what it is asked about."""
        self.unfinished += 1
        self._attempt(wish, done, insists)

    def _attempt(
        self, wish: Callable[[CatalogWriter], Any], done: Callable[[Any], None], insists: bool
    ) -> None:
        ready = [each for each in self._writers if each.is_up and each.writer is not None]
        settled = False

        def settle(answer: Any) -> None:
            nonlocal settled
            if settled:
                return
            settled = True
            failed = isinstance(answer, GrandstandError)
            if answer is None or (failed and (insists or answer.retryable)):
                self.then(lambda: self._attempt(wish, done, insists), _AGAIN_S)
            else:
                self.unfinished -= 1
                done(answer)

        if not ready:
            settle(None)
            return
        at = self.world.random.choice(ready)

        async def call() -> None:
            assert at.writer is not None
            try:
                answer = await wish(at.writer)
            except GrandstandError as error:
                answer = error
            if not self.world.odds(0.05):
                self.then(lambda: settle(answer))

        at.then(lambda: at.spawn(call()))
        self.then(lambda: settle(None), 0.0, 4.0)
