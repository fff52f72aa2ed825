"""What feeds a game's viewers: its view, its cohorts, and the loops that keep them going.

A game is fed while it has viewers and GAME_LINGER_S longer. Its feed subscribes to the game's results, then
loads what the store holds, so nothing falls between the two; a lost core-NATS message is healed by loading
again every ANTI_ENTROPY_S and after a reconnect.

Bounds: the viewers that mesh.stream_limits admits; no queue for any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from gateway import bounds
from gateway.cohort import Cohort, CohortKey
from gateway.overload import Overload
from gateway.read_barrier import BarrierWaiters
from gateway.subscribe import ViewerStream
from gateway.view import GameView
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.notify.v1.notify_pb2 import Announcement
from grandstand.wire.errors import Unavailable
from grandstand.wire.topics import TopicPatterns
from mesh import telemetry
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.http2.broadcast_group import Chosen, Shared
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore

log = logging.getLogger(__name__)

_BOARDS = TopicPatterns(["board/*"])


class Feed:
    """One game. `on_joined` is called with each viewer that got its seat; `on_board` with the name of each
    board that changed; `on_idle` when nobody has watched for a while."""

    def __init__(
        self,
        bus: Bus,
        results: ResultStore,
        catalog: CatalogWatch,
        spreads: Spreads,
        overload: Overload,
        game_id: str,
        *,
        on_joined: Callable[[ViewerStream], None],
        on_board: Callable[[str], None],
        on_idle: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """`now`: Unix seconds."""
        self._now = now
        self.view = GameView(catalog.public_id)
        self.game_id = game_id
        self._bus = bus
        self._results = results
        self._catalog = catalog
        self._spreads = spreads
        self._overload = overload
        self._on_joined = on_joined
        self._on_board = on_board
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._cohorts: dict[CohortKey, Cohort] = {}
        self._viewers: dict[ViewerStream, Cohort | None] = {}
        self._arriving: list[ViewerStream] = []
        """Until the feed has started."""
        self._barrier_waiters = BarrierWaiters(self.view, self._load, self._refresh, self._seat)
        self._starting: asyncio.Task[None] | None = None
        self._has_started = False
        self._healing: asyncio.Task[None] | None = None
        self._subscriptions: list[NatsSubscription] = []
        self._load_now = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._flushes: set[CohortKey] = set()
        self._causes: list[str] = []
        self._linger: asyncio.TimerHandle | None = None

    @property
    def cohorts(self) -> list[Cohort]:
        return list(self._cohorts.values())

    # Viewers.

    def join(self, viewer: ViewerStream) -> None:
        """The viewer is sent its snapshot as soon as it can be, or ended."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._viewers[viewer] = None
        if self._has_started:
            self._admit(viewer)
            return
        self._arriving.append(viewer)
        if self._starting is None:
            with telemetry.detached():
                self._starting = asyncio.create_task(self._start())

    def leave(self, viewer: ViewerStream) -> None:
        """Its call has ended, and so left its seat."""
        cohort = self._viewers.pop(viewer, None)
        if cohort is not None and not cohort:
            del self._cohorts[cohort.key]
        if not self._viewers and self._linger is None:
            self._linger = self._loop.call_later(bounds.GAME_LINGER_S, self._on_idle)

    def cohort_of(self, viewer: ViewerStream) -> Cohort | None:
        """None until it has its seat."""
        return self._viewers.get(viewer)

    def unseated(self) -> list[ViewerStream]:
        """Those that still wait for their snapshot to be known."""
        return [viewer for viewer, cohort in self._viewers.items() if cohort is None]

    def seated(self, chosen: Chosen) -> list[ViewerStream]:
        """Those whose stream ids are `chosen`."""
        calls = {call for cohort in self._cohorts.values() for call in cohort.calls(chosen)}
        return [viewer for viewer in self._viewers if viewer.call in calls]

    def _admit(self, viewer: ViewerStream) -> None:
        subscription = viewer.subscription
        assert subscription is not None
        view = self.view
        if view.unloaded() is not None or (
            subscription.resumes and (subscription.is_outside(view) or subscription.missing(view) is not None)
        ):
            self._barrier_waiters.add(viewer)
        else:
            self._seat(viewer)

    def _seat(self, viewer: ViewerStream) -> None:
        subscription = viewer.subscription
        assert subscription is not None
        key, at_s = subscription.key, self._loop.time()
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(key, self.view, lambda: self._flush_soon(key), self._now())
            rate = self._overload.updates_per_s(key.updates_per_s, key.tier)
            cohort.frames.renditioned(rate)
        cohort.join(viewer.call, ahead=subscription.resumes, at_s=at_s)
        self._viewers[viewer] = cohort
        self._on_joined(viewer)
        # All of a cohort are the same but for who they are.
        viewer.game_id = self.game_id
        viewer.subscription = None

    async def _load(self) -> None:
        """Brings the view up to what the store holds, if it can be read."""
        try:
            shares = await self._results.read(self.game_id, self._spread())
        except RedisError as error:
            log.info("game %s is not read: %s", self.game_id, error)
            return
        version = self.view.version
        if self.view.load(shares):
            for topic in self.view.changed(_BOARDS, version):
                self._on_board(topic.partition("/")[2])
            self._pump()

    async def _refresh(self) -> None:
        """The game's spread, past the catalog's watch."""
        await self._catalog.refresh(subjects.game_key(self.game_id))

    # The game's results.

    async def _start(self) -> None:
        try:
            results = await self._bus.client.subscribe(
                subjects.results_of_game(self.game_id), cb=self._on_result
            )
            self._subscriptions.append(results)
            announcements = await self._bus.client.subscribe(
                subjects.announcements(self.game_id), cb=self._on_announcement
            )
            self._subscriptions.append(announcements)
            await self._bus.client.flush(2)  # the server has them; what is stored later comes
            self.view.load(await self._results.read(self.game_id, self._spread()))
        except (NatsError, RedisError, TimeoutError) as error:
            self._starting = None
            arriving, self._arriving = self._arriving, []
            for viewer in arriving:
                viewer.end(Unavailable(f"results cannot be read now ({type(error).__name__}); try again"))
            await self._unsubscribe()
            return
        self._has_started = True
        self._bus.on_reconnect(self._load_now.set)
        self._healing = asyncio.create_task(self._heal())
        arriving, self._arriving = self._arriving, []
        for viewer in arriving:
            if viewer in self._viewers:
                self._admit(viewer)

    def _spread(self) -> int:
        """As the catalog has it now: a game without topics may still be spread anew."""
        return self._spreads.of(self.game_id)

    async def stop(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._load_now.set)
        self._barrier_waiters.stop()
        for task in (self._starting, self._healing):
            if task is not None:
                task.cancel()
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _on_result(self, message: Msg) -> None:
        partial = Partial.FromString(message.data)
        self._barrier_waiters.news()
        if self.view.offer(partial):
            cause = telemetry.cause_in(message.headers)
            if cause and len(self._causes) < telemetry.LINKS_MAX:
                self._causes.append(cause)
            kind, _, name = partial.topic.partition("/")
            if kind == "board":
                self._on_board(name)
            self._pump()

    async def _on_announcement(self, message: Msg) -> None:
        response = SubscribeResponse(announcement=Announcement.FromString(message.data))
        response.as_of.FromNanoseconds(int(self._now() * 1e9))
        encoded, now = response.SerializeToString(), self._loop.time()
        for cohort in self._cohorts.values():
            cohort.note(encoded, now)

    async def _heal(self) -> None:
        """Anti-entropy: loads what the store holds, now and then and after a reconnect."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(bounds.ANTI_ENTROPY_S):
                    await self._load_now.wait()
            self._load_now.clear()
            await self._load()
            if self.view.let_time_pass(self._now()):
                self._pump()

    # Ticks.

    def _pump(self) -> None:
        """Ticks the cohorts that are due and comes back for the next."""
        now = self._loop.time()
        next_at = float("inf")
        due = []
        for cohort in self._cohorts.values():
            due_at = cohort.frames.due_at_s()
            if due_at is None:
                continue
            if due_at <= now:
                due.append(cohort)
            else:
                next_at = min(next_at, due_at)
        if due:
            self._tick(due, now)
        if next_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = next_at
            self._timer = self._loop.call_at(next_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._pump()

    def _tick(self, due: list[Cohort], now: float) -> None:
        causes, self._causes = self._causes, []
        count = sum(len(cohort) for cohort in due) if causes else 0
        with telemetry.batch_span(
            "fan out",
            SpanKind.INTERNAL,
            causes,
            {"grandstand.game": self.game_id, "grandstand.viewers": count},
        ):
            for cohort in due:
                cohort.tick(now, self._now())

    def _flush_soon(self, key: CohortKey) -> None:
        """Once for all that asked in this turn of the loop."""
        if key not in self._flushes:
            self._flushes.add(key)
            self._loop.call_soon(self._flush, key)

    def _flush(self, key: CohortKey) -> None:
        self._flushes.discard(key)
        cohort = self._cohorts.get(key)
        if cohort is not None:
            cohort.flush(self._loop.time(), self._now())

    def send_heartbeat(self, message: Shared, now: float) -> None:
        """Sends the heartbeat to viewers that were sent nothing for HEARTBEAT_S."""
        for cohort in self._cohorts.values():
            cohort.send_heartbeat(message, now - bounds.HEARTBEAT_S, now)

    def render(self) -> None:
        """Applies the overload level to the rates of all cohorts."""
        now, at_s = self._now(), self._loop.time()
        for cohort in self._cohorts.values():
            rate = self._overload.updates_per_s(cohort.key.updates_per_s, cohort.key.tier)
            cohort.render(rate, self._overload.reason(), at_s, now)
        self._pump()
