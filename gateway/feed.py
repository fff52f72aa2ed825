"""What feeds a game's viewers: its view, its cohorts, and the loops that keep them going.

A game is fed while it has viewers and GAME_LINGER_S longer. Its feed subscribes to the
game's results, then loads what the store holds, so nothing falls between the two; a lost
core-NATS message is healed by loading again every ANTI_ENTROPY_S and after a reconnect.

Bounds: a viewer holds no queue of updates, only the version it was sent, and at most
ANNOUNCEMENTS_QUEUED_MAX announcements, the oldest dropped first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from gateway.cohort import Cohort, CohortKey
from gateway.view import GameView
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.notify.v1.notify_pb2 import Announcement
from mesh import limits, subjects, telemetry
from mesh.bus import Bus
from mesh.catalog import CatalogView
from mesh.errors import Unavailable
from mesh.store import RedisError, ResultStore

log = logging.getLogger(__name__)


class Viewer:
    """One open subscription: the version it was sent, and what it is still to hear."""

    def __init__(self) -> None:
        self.version = 0
        self.heartbeat_due = False
        self.announcements: deque[bytes] = deque(maxlen=limits.ANNOUNCEMENTS_QUEUED_MAX)
        self.wake = asyncio.Event()


class Feed:
    """One game's view, its cohorts, and the loops that keep them going while it is watched."""

    def __init__(
        self, bus: Bus, results: ResultStore, catalog: CatalogView, game_id: str, registry: dict[str, Feed]
    ) -> None:
        self.view = GameView()
        self._bus = bus
        self._results = results
        self._catalog = catalog
        self._game_id = game_id
        self._registry = registry
        self._cohorts: dict[CohortKey, tuple[Cohort, set[Viewer]]] = {}
        self._watchers = 0
        self._started: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions: list[Subscription] = []
        self._load_now = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._causes: list[str] = []
        self._linger: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keeps the feed alive for its body; started by the first that enters. Raises Unavailable."""
        self._watchers += 1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        try:
            if self._started is None:
                with telemetry.detached():
                    self._started = asyncio.create_task(self._start())
            await asyncio.shield(self._started)
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(limits.GAME_LINGER_S, self._retire)

    async def _start(self) -> None:
        try:
            self._subscriptions = [
                await self._bus.client.subscribe(subjects.results_of_game(self._game_id), cb=self._on_result),
                await self._bus.client.subscribe(
                    subjects.announcements(self._game_id), cb=self._on_announcement
                ),
            ]
            await self._bus.client.flush(2)  # the server has the subscriptions; what is stored later comes
            self.view.load(await self._results.read(self._game_id, self._spread()))
        except (NatsError, RedisError, TimeoutError) as error:
            self._leave_registry()
            await self._unsubscribe()
            raise Unavailable(f"results cannot be read now ({type(error).__name__}); try again") from None
        self._bus.on_reconnect(self._load_now.set)
        self._tasks = [asyncio.create_task(self._heal()), asyncio.create_task(self._beat())]

    def _spread(self) -> int:
        """As the catalog has it now: a game without topics may still be spread anew."""
        return self._catalog.game(self._game_id).spread

    def _retire(self) -> None:
        if self._watchers == 0:
            self._leave_registry()
            self._stopping = asyncio.create_task(self.stop())

    def _leave_registry(self) -> None:
        if self._registry.get(self._game_id) is self:
            del self._registry[self._game_id]

    async def stop(self) -> None:
        self._leave_registry()
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._load_now.set)
        for task in self._tasks:
            task.cancel()
        await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()
        self._subscriptions = []

    async def reach(self, wanted: list[Position]) -> None:
        """Loads until the view includes every position (I5, I6). Raises TooLate, Unavailable."""
        if not wanted:
            return
        try:
            shares = await self._results.read_at_least(
                self._game_id, self._spread(), wanted, limits.BARRIER_S
            )
        except RedisError as error:
            raise Unavailable(f"results cannot be read now ({type(error).__name__}); try again") from None
        if self.view.load(shares):
            self._pump()

    def join(self, key: CohortKey, viewer: Viewer) -> Cohort:
        found = self._cohorts.get(key)
        if found is None:
            found = self._cohorts[key] = (Cohort(key, self.view), set())
        found[1].add(viewer)
        return found[0]

    def leave(self, key: CohortKey, viewer: Viewer) -> None:
        viewers = self._cohorts[key][1]
        viewers.discard(viewer)
        if not viewers:
            del self._cohorts[key]

    def wake_all(self) -> None:
        for _, viewers in self._cohorts.values():
            for viewer in viewers:
                viewer.wake.set()

    async def _on_result(self, message: Msg) -> None:
        if self.view.offer(Partial.FromString(message.data)):
            cause = telemetry.cause_in(message.headers)
            if cause and len(self._causes) < telemetry.LINKS_MAX:
                self._causes.append(cause)
            self._pump()

    async def _on_announcement(self, message: Msg) -> None:
        response = SubscribeResponse(announcement=Announcement.FromString(message.data))
        response.as_of.FromNanoseconds(time.time_ns())
        encoded = response.SerializeToString()
        for _, viewers in self._cohorts.values():
            for viewer in viewers:
                viewer.announcements.append(encoded)
                viewer.wake.set()

    def _pump(self) -> None:
        """Ticks the cohorts that are due and comes back for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        next_at = float("inf")
        ticked: list[set[Viewer]] = []
        for cohort, viewers in self._cohorts.values():
            due_at = cohort.due_at_s()
            if due_at is None:
                continue
            if due_at <= now:
                cohort.tick(now)
                ticked.append(viewers)
            else:
                next_at = min(next_at, due_at)
        if ticked:
            self._tick(ticked)
        if next_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = next_at
            self._timer = loop.call_at(next_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._pump()

    def _tick(self, ticked: list[set[Viewer]]) -> None:
        causes, self._causes = self._causes, []
        count = sum(len(viewers) for viewers in ticked)
        with telemetry.batch_span(
            "fan out",
            SpanKind.INTERNAL,
            causes,
            {"grandstand.game": self._game_id, "grandstand.viewers": count},
        ):
            for viewers in ticked:
                for viewer in viewers:
                    viewer.wake.set()

    async def _heal(self) -> None:
        """Anti-entropy: loads what the store holds, now and then and after a reconnect."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._load_now.wait(), limits.ANTI_ENTROPY_S)
            self._load_now.clear()
            try:
                changed = self.view.load(await self._results.read(self._game_id, self._spread()))
            except RedisError as error:
                log.info("game %s is not read: %s", self._game_id, error)
                continue
            if self.view.let_time_pass(time.time()) or changed:
                self._pump()

    async def _beat(self) -> None:
        """Every HEARTBEAT_S all viewers that were sent nothing hear that the stream is alive."""
        while True:
            before: Mapping[Viewer, int] = {
                viewer: viewer.version for _, viewers in self._cohorts.values() for viewer in viewers
            }
            await asyncio.sleep(limits.HEARTBEAT_S)
            for _, viewers in self._cohorts.values():
                for viewer in viewers:
                    if before.get(viewer, viewer.version) == viewer.version:
                        viewer.heartbeat_due = True
                        viewer.wake.set()
