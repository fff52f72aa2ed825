"""The fan-out: from the views of games to the streams of all viewers of this gateway.

Here is what concerns all games: which are fed, who may come in, how hot the gateway runs, who is reported as
present, personal topics, heartbeats, and how it takes its leave.

Bounds: the viewers that the door lets in (gateway.viewer_limits), and the games of the catalog.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway import frames
from gateway.cohort import Cohort
from gateway.drain_plan import Leaving
from gateway.feed import Feed
from gateway.overload import Heat
from gateway.subscribe import Viewer
from gateway.viewer_limits import Door
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import tasks
from mesh import limits, telemetry
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.errors import GrandstandError, Unavailable
from mesh.http2.broadcast_group import Chosen, Shared
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.store import ResultStore
from mesh.topics import PersonalTopics

log = logging.getLogger(__name__)

LOOK_S = 0.25
BEAT_S = 1.0
# The listener cuts what is left when the grace is over: the last batch is ended before that.
_MARGIN_S = 0.5


class Watch(Protocol):
    """The personal topics of one viewer."""

    def writable(self) -> None:
        """There is room for what did not fit."""

    def close(self) -> None: ...


class TellsPersonal(Protocol):
    """Who knows what is one actor's own (gateway.personal)."""

    def watch(
        self,
        game_id: str,
        actor_id: str,
        topics: PersonalTopics,
        tell: Callable[[bytes], bool],
        *,
        positions: Sequence[Position],
        cursors: Sequence[tuple[str, Sequence[Position]]],
    ) -> Watch:
        """`tell` sends an encoded SubscribeResponse, if it fits now. What is told includes the positions, and
        what the cursors say was seen."""

    def board_changed(self, game_id: str, board_id: str) -> None: ...


class Reports(Protocol):
    """Who is told of viewers that come and go (gateway.presence_reporter)."""

    def enter(self, game_id: str, actor_id: str | None) -> None: ...
    def leave(self, game_id: str, actor_id: str | None) -> None: ...
    def stop(self) -> None: ...


class FanOut:
    """Implements gateway.subscribe.Hall."""

    def __init__(
        self,
        bus: Bus,
        results: ResultStore,
        catalog: CatalogWatch,
        door: Door,
        attendance: Reports,
        personal: TellsPersonal,
        draining: asyncio.Event,
    ) -> None:
        self.heat = Heat()
        self._bus = bus
        self._results = results
        self._catalog = catalog
        self._spreads = Spreads(catalog.view)
        self._door = door
        self._attendance = attendance
        self._personal = personal
        self._draining = draining
        self._feeds: dict[str, Feed] = {}
        self._watches: dict[Viewer, Watch] = {}
        self._present: set[Viewer] = set()
        self._strangers: dict[str, list[Viewer]] = {}
        """Viewers of games that are not known here."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._tasks = [
            asyncio.create_task(each) for each in (self._look(), self._beat(), self._leave_when_drained())
        ]

    @property
    def viewers(self) -> int:
        return self._door.viewers

    @property
    def games_fed(self) -> int:
        return len(self._feeds)

    async def stop(self) -> None:
        await tasks.end(*self._tasks, *self._asking.values())
        await asyncio.gather(*(feed.stop() for feed in list(self._feeds.values())), *self._stopping)

    # Viewers.

    def join(self, viewer: Viewer) -> None:
        """Raises Exhausted, Unavailable, Unknown."""
        if self._draining.is_set():
            raise Unavailable("this gateway is going away; connect again")
        if self.heat.is_full:
            raise self._door.refusal(self.heat.reason(), time.monotonic())
        if subjects.game_key(viewer.game_id) in self._catalog.view:
            self._feed(viewer.game_id).join(viewer)
            return
        strangers = self._strangers.setdefault(viewer.game_id, [])
        strangers.append(viewer)
        if viewer.game_id not in self._asking:
            with telemetry.detached():
                self._asking[viewer.game_id] = asyncio.create_task(self._ask_for(viewer.game_id))

    async def _ask_for(self, game_id: str) -> None:
        """The game may have been defined a moment ago. One question for all who came before it was asked: an
        answer to an earlier one may be from before the definition."""
        while viewers := self._strangers.pop(game_id, []):
            await self._catalog.refresh(subjects.game_key(game_id))
            for viewer in viewers:
                if viewer.ticket is None:
                    continue
                try:
                    self._catalog.view.game(game_id)  # raises Unknown
                    self._feed(game_id).join(viewer)
                except GrandstandError as error:
                    viewer.end(error)
        del self._asking[game_id]

    def leave(self, viewer: Viewer) -> None:
        feed = self._feeds.get(viewer.game_id)
        if feed is not None:
            feed.leave(viewer)
        watch = self._watches.pop(viewer, None)
        if watch is not None:
            watch.close()
        if viewer in self._present:
            self._present.discard(viewer)
            self._attendance.leave(viewer.game_id, viewer.actor_id)

    def room(self, viewer: Viewer) -> None:
        watch = self._watches.get(viewer)
        if watch is not None:
            watch.writable()

    def _feed(self, game_id: str) -> Feed:
        feed = self._feeds.get(game_id)
        if feed is None:
            feed = self._feeds[game_id] = Feed(
                self._bus,
                self._results,
                self._catalog,
                self._spreads,
                self.heat,
                game_id,
                on_joined=self._joined,
                on_board=lambda board_id: self._personal.board_changed(game_id, board_id),
                on_idle=lambda: self._retire(game_id),
            )
        return feed

    def _retire(self, game_id: str) -> None:
        feed = self._feeds.pop(game_id, None)
        if feed is not None:
            task = asyncio.create_task(feed.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _joined(self, viewer: Viewer) -> None:
        subscription = viewer.subscription
        assert subscription is not None
        if viewer.actor_id is None:
            return
        self._present.add(viewer)
        self._attendance.enter(viewer.game_id, viewer.actor_id)
        if subscription.personal:
            with telemetry.detached():
                self._watches[viewer] = self._personal.watch(
                    viewer.game_id,
                    viewer.actor_id,
                    subscription.personal,
                    lambda message: self._tell(viewer, message),
                    positions=subscription.personal_positions,
                    cursors=subscription.personal_cursors,
                )

    def _tell(self, viewer: Viewer, message: bytes) -> bool:
        """Never before the Snapshot, which is the first message of a stream."""
        feed = self._feeds.get(viewer.game_id)
        cohort = None if feed is None else feed.cohort_of(viewer)
        if cohort is None:
            return False
        if not cohort.has_begun(viewer.call):
            asyncio.get_running_loop().call_later(limits.TICK_S, self.room, viewer)
            return False
        return viewer.call.try_send(message)

    # All of them.

    async def _look(self) -> None:
        """Keeps the heat."""
        loop = asyncio.get_running_loop()
        at_s, spent_s = loop.time(), time.process_time()
        while True:
            await asyncio.sleep(LOOK_S)
            now, now_spent_s = loop.time(), time.process_time()
            lag_s = now - at_s - LOOK_S
            if self.heat.observe((now_spent_s - spent_s) / (now - at_s), lag_s, now):
                log.info("%s", self.heat.reason())
                for feed in self._feeds.values():
                    feed.render()
            at_s, spent_s = now, now_spent_s

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BEAT_S)
            message = Shared(frames.heartbeat(time.time()))
            for feed in self._feeds.values():
                feed.beat(message, loop.time())

    async def _leave_when_drained(self) -> None:
        """Tells all viewers when to come elsewhere, and ends their streams a moment after that."""
        await self._draining.wait()
        self._attendance.stop()
        loop = asyncio.get_running_loop()
        plan = Leaving(self._door.viewers, limits.DRAIN_GRACE_S - _MARGIN_S, random.random)
        began_s = loop.time()
        log.info("%d viewers are sent elsewhere in %d batches", self._door.viewers, plan.batches)
        for feed in list(self._feeds.values()):
            self._end(feed.unseated())
        for batch in range(plan.batches):
            message = Shared(frames.drain(plan.reconnect_after_s(batch), time.time()))
            for cohort in self._cohorts():
                cohort.send(message, _chosen(plan, batch), loop.time())
            await asyncio.sleep(0)
        for batch in range(plan.batches):
            await asyncio.sleep(began_s + plan.ends_after_s(batch) - loop.time())
            for feed in list(self._feeds.values()):
                self._end(feed.seated(_chosen(plan, batch)))

    def _cohorts(self) -> list[Cohort]:
        return [cohort for feed in self._feeds.values() for cohort in feed.cohorts]

    def _end(self, viewers: Iterable[Viewer]) -> None:
        for viewer in viewers:
            viewer.end(Unavailable("this gateway is going away; connect again with your cursors"))


def _chosen(plan: Leaving, batch: int) -> Chosen:
    def chosen(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.equal(plan.batch_of(ids), batch)

    return chosen
