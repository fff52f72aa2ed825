"""The fan-out: from the views of games to the streams of all viewers of this gateway.

This file holds what concerns all games: which games are fed, admission of viewers, overload, presence,
personal topics, heartbeats, and the drain.

Bounds: the viewers that mesh.stream_limits admits, and the games of the catalog.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway import bounds, frames
from gateway.cohort import Cohort
from gateway.drain_plan import DrainPlan
from gateway.feed import Feed
from gateway.frame_counts import FrameCounts
from gateway.overload import Overload
from gateway.subscribe import ViewerStream
from gateway.tick_wheel import TickWheel
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.notify.v1.notify_pb2 import Announcement
from grandstand.wire import tasks
from grandstand.wire.errors import GrandstandError, Unavailable
from grandstand.wire.topics import PersonalTopics
from mesh import limits, telemetry, wall_clock
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.http2.members import Chosen
from mesh.http2.shared_message import Shared
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.metrics.histogram import Histogram
from mesh.redis.results import ResultStore
from mesh.results_feed.result_feeds import ResultFeeds
from mesh.stream_limits import StreamLimits

log = logging.getLogger(__name__)

LOOK_S = 0.25
HEARTBEAT_LOOK_S = 1.0
EACH_SECOND_S = 1.0
# The listener cuts all open streams when the grace is over: the last batch ends this long before.
_MARGIN_S = 0.5


class PersonalTopicsWatch(Protocol):
    """The personal topics of one viewer."""

    def writable(self) -> None:
        """The stream is writable again."""

    def close(self) -> None: ...


class TellsPersonal(Protocol):
    """Source of personal topics (gateway.personal)."""

    def show(self, game_id: str) -> None:
        """The game's viewers are told of its notices; `hide` as often."""

    def hide(self, game_id: str) -> None: ...
    def watch(
        self,
        game_id: str,
        actor_id: str,
        topics: PersonalTopics,
        tell: Callable[[bytes], bool],
        *,
        positions: Sequence[Position],
        cursors: Sequence[tuple[str, Sequence[Position]]],
    ) -> PersonalTopicsWatch:
        """`tell` sends an encoded SubscribeResponse if it fits now. Each state includes the positions, and
        what the cursors say was seen."""

    def board_changed(self, game_id: str, board_id: str) -> None: ...


class PresenceSink(Protocol):
    """Told when viewers come and go (gateway.presence_reporter)."""

    def enter(self, game_id: str, actor_id: str | None, guest: bool) -> None: ...
    def leave(self, game_id: str, actor_id: str | None, guest: bool) -> None: ...
    def stop(self) -> None: ...


class FanOut:
    """Implements gateway.subscribe.ViewerRegistry."""

    def __init__(
        self,
        bus: Bus,
        results: ResultStore,
        catalog: CatalogWatch,
        viewer_limits: StreamLimits,
        presence: PresenceSink,
        personal: TellsPersonal,
        draining: asyncio.Event,
        now: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`now`: Unix seconds."""
        self._now = now
        self.overload = Overload()
        self.counts = FrameCounts()
        self.join_s = Histogram()
        """From a Subscribe call's headers to the viewer's seat."""
        self.catalog = catalog
        self.spreads = Spreads(catalog.view)
        self.results = ResultFeeds(
            bus,
            results,
            on_changed=self._changed,
            on_progress=self._progressed,
            on_forgotten=self._forgotten,
            on_announcement=self.announce,
        )
        self._loop = asyncio.get_running_loop()
        self._viewer_limits = viewer_limits
        self._presence = presence
        self._personal = personal
        self._draining = draining
        self._feeds: dict[str, Feed] = {}
        self._watches: dict[ViewerStream, PersonalTopicsWatch] = {}
        self._present: dict[ViewerStream, bool] = {}
        """Those whose presence is reported, and whether they are guests."""
        self._viewers_of_unknown_games: dict[str, list[ViewerStream]] = {}
        """By game, until the catalog was asked for it."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[Feed] = set()
        """Games with viewers that wait for more to be known."""
        self._idle: dict[Feed, float] = {}
        """When the last viewer left, in this order."""
        self._retiring: asyncio.TimerHandle | None = None
        self._wheel: TickWheel[Feed] = TickWheel()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._catalog_changes = catalog.view.changes
        self._tasks = [
            asyncio.create_task(each)
            for each in (self._look(), self._look_each_second(), self._send_heartbeats(), self._drain())
        ]

    @property
    def viewers(self) -> int:
        return self._viewer_limits.streams

    @property
    def games(self) -> int:
        return len(self._feeds)

    @property
    def personal_watches(self) -> int:
        return len(self._watches)

    def viewers_by_game(self) -> dict[str, int]:
        return {game_id: feed.viewers for game_id, feed in self._feeds.items()}

    async def stop(self) -> None:
        await tasks.end(*self._tasks, *self._asking.values())
        for timer in (self._timer, self._retiring):
            if timer is not None:
                timer.cancel()
        for feed in self._feeds.values():
            feed.stop()
        await self.results.stop()

    # Viewers.

    def join(self, viewer: ViewerStream) -> None:
        """Raises Exhausted, Unavailable, Unknown."""
        if self._draining.is_set():
            raise Unavailable("this gateway is going away; connect again")
        if self.overload.is_full:
            raise self._viewer_limits.refusal(self.overload.reason(), time.monotonic())
        if subjects.game_key(viewer.game_id) in self.catalog.view:
            self._feed(viewer.game_id).join(viewer)
            return
        waiting = self._viewers_of_unknown_games.setdefault(viewer.game_id, [])
        waiting.append(viewer)
        if viewer.game_id not in self._asking:
            with telemetry.detached():
                self._asking[viewer.game_id] = asyncio.create_task(self._ask_for(viewer.game_id))

    async def _ask_for(self, game_id: str) -> None:
        """Asks the catalog for a game, which may have been defined a moment ago. Viewers that join while a
        look-up is under way wait for the next one: the answer may be older than the definition."""
        while viewers := self._viewers_of_unknown_games.pop(game_id, []):
            away: Unavailable | None = None
            try:
                await self.catalog.refresh(subjects.game_key(game_id))
            except Unavailable as error:
                away = error
            for viewer in viewers:
                if viewer.admission is None:
                    continue
                if away is not None:
                    viewer.end(away)
                    continue
                try:
                    self._feed(game_id).join(viewer)
                except GrandstandError as error:
                    viewer.end(error)
        del self._asking[game_id]

    def leave(self, viewer: ViewerStream) -> None:
        feed = self._feeds.get(viewer.game_id)
        if feed is not None:
            feed.leave(viewer)
        watch = self._watches.pop(viewer, None)
        if watch is not None:
            watch.close()
        guest = self._present.pop(viewer, None)
        if guest is not None:
            self._presence.leave(viewer.game_id, viewer.actor_id, guest)

    def writable(self, viewer: ViewerStream) -> None:
        watch = self._watches.get(viewer)
        if watch is not None:
            watch.writable()

    def _feed(self, game_id: str) -> Feed:
        """Raises Unknown."""
        game = self.catalog.view.game(game_id)
        feed = self._feeds.get(game_id)
        if feed is not None and feed.generation != game.generation:
            feed.forget()
            self._retire(feed)
            feed = None
        if feed is None:
            feed = self._feeds[game_id] = Feed(self, game)
            self._personal.show(game_id)
        self._idle.pop(feed, None)
        return feed

    def _retire(self, feed: Feed) -> None:
        """Its viewers, if any, have been told."""
        if self._feeds.get(feed.game_id) is feed:
            del self._feeds[feed.game_id]
        self._idle.pop(feed, None)
        self._waiting.discard(feed)
        self._wheel.drop(feed)
        self._personal.hide(feed.game_id)
        feed.stop()

    def _retire_idle(self) -> None:
        self._retiring = None
        now = self._loop.time()
        while self._idle:
            feed, since = next(iter(self._idle.items()))
            if now < since + bounds.GAME_LINGER_S:
                self._retiring = self._loop.call_at(since + bounds.GAME_LINGER_S, self._retire_idle)
                return
            self._retire(feed)

    # Called by feeds.

    def now(self) -> float:
        return self._now()

    def idle(self, feed: Feed) -> None:
        self._idle.pop(feed, None)
        if self._feeds.get(feed.game_id) is feed:
            self._idle[feed] = self._loop.time()
            if self._retiring is None:
                self._retiring = self._loop.call_later(bounds.GAME_LINGER_S, self._retire_idle)

    def waits(self, feed: Feed) -> None:
        self._waiting.add(feed)

    def board_changed(self, game_id: str, board_id: str) -> None:
        self._personal.board_changed(game_id, board_id)

    def tick_at(self, feed: Feed, at_s: float) -> None:
        self._wheel.put(feed, at_s)
        self._set_timer()

    def _set_timer(self) -> None:
        at_s = self._wheel.next_at_s()
        if at_s is not None and at_s < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at_s
            self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        due_at_s, self._timer_at = self._timer_at, float("inf")
        at_s, now_s = self._loop.time(), self._now()
        self.counts.late_turns += at_s - due_at_s > bounds.TICK_S
        for feed in self._wheel.take(at_s):
            feed.tick(at_s, now_s)
        self._set_timer()

    # Called by ResultFeeds.

    def _changed(self, topics: Mapping[str, Sequence[str]], cause: str) -> None:
        at_s, now_s = self._loop.time(), self._now()
        for game_id, changed in topics.items():
            feed = self._feeds.get(game_id)
            if feed is not None:
                feed.changed(changed, cause, at_s, now_s)

    def _progressed(self, partition: int) -> None:
        if self._waiting:
            for feed in [each for each in self._waiting if partition in each.view.partitions]:
                if not feed.progressed():
                    self._waiting.discard(feed)

    def _forgotten(self, game_id: str) -> None:
        feed = self._feeds.get(game_id)
        if feed is not None:
            feed.forget()

    def announce(self, game_id: str, encoded: bytes) -> None:
        """An encoded Announcement, to all viewers of the game."""
        feed = self._feeds.get(game_id)
        if feed is None or not feed.has_viewers:
            return
        response = SubscribeResponse(announcement=Announcement.FromString(encoded))
        response.as_of.FromNanoseconds(int(self._now() * 1e9))
        feed.announce(response.SerializeToString())

    def joined(self, viewer: ViewerStream) -> None:
        subscription = viewer.subscription
        assert subscription is not None
        self.join_s.observe(self._loop.time() - viewer.asked_at_s)
        viewer.asked_at_s = 0.0
        if viewer.actor_id is None:
            return
        self._present[viewer] = subscription.guest
        self._presence.enter(viewer.game_id, viewer.actor_id, subscription.guest)
        if subscription.personal:
            with telemetry.detached():
                self._watches[viewer] = self._personal.watch(
                    viewer.game_id,
                    viewer.actor_id,
                    subscription.personal,
                    lambda message: self.tell(viewer, message),
                    positions=subscription.personal_positions,
                    cursors=subscription.personal_cursors,
                )

    def tell(self, viewer: ViewerStream, message: bytes) -> bool:
        """Sends a message to one viewer, never before its Snapshot, which is the first of a stream."""
        feed = self._feeds.get(viewer.game_id)
        cohort = None if feed is None else feed.cohort_of(viewer)
        if cohort is None:
            return False
        if not cohort.has_begun(viewer.call):
            asyncio.get_running_loop().call_later(bounds.TICK_S, self.writable, viewer)
            return False
        return viewer.call.try_send(message)

    # All viewers.

    async def _look(self) -> None:
        """Observes the overload level, and sets the rates when it changes."""
        loop = asyncio.get_running_loop()
        at_s, spent_s = loop.time(), time.process_time()
        while True:
            await asyncio.sleep(LOOK_S)
            now, now_spent_s = loop.time(), time.process_time()
            lag_s = now - at_s - LOOK_S
            if self.overload.observe((now_spent_s - spent_s) / (now - at_s), lag_s, now):
                log.info("%s", self.overload.reason())
                for feed in self._feeds.values():
                    feed.render()
            at_s, spent_s = now, now_spent_s

    async def _look_each_second(self) -> None:
        """At what changes with time alone, and at the catalog if it has changed."""
        while True:
            await asyncio.sleep(EACH_SECOND_S)
            at_s, now_s = self._loop.time(), self._now()
            for feed in list(self._feeds.values()):
                if feed.view.let_time_pass(now_s):
                    feed.tick(at_s, now_s)
            view = self.catalog.view
            if view.changes != self._catalog_changes:
                changed = view.changed_since(self._catalog_changes)
                self._catalog_changes = view.changes
                for feed in list(self._feeds.values()):
                    if changed is not None and feed.game_id not in changed:
                        continue
                    game = view.get(subjects.game_key(feed.game_id))
                    feed.look_at(game if isinstance(game, Game) else None)

    async def _send_heartbeats(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT_LOOK_S)
            message = Shared(frames.heartbeat(self._now()))
            for feed in self._feeds.values():
                feed.send_heartbeat(message, loop.time())

    async def _drain(self) -> None:
        """When the process drains: tells all viewers when to reconnect elsewhere, then ends their streams."""
        await self._draining.wait()
        self._presence.stop()
        loop = asyncio.get_running_loop()
        plan = DrainPlan(self._viewer_limits.streams, limits.DRAIN_GRACE_S - _MARGIN_S, random.random)
        began_s = loop.time()
        log.info("%d viewers are sent elsewhere in %d batches", self._viewer_limits.streams, plan.batches)
        for feed in list(self._feeds.values()):
            self._end(feed.unseated())
        for batch in range(plan.batches):
            message = Shared(frames.drain(plan.reconnect_after_s(batch), self._now()))
            for cohort in self.cohorts():
                cohort.send(message, _chosen(plan, batch), loop.time())
            await asyncio.sleep(0)
        for batch in range(plan.batches):
            await asyncio.sleep(began_s + plan.ends_after_s(batch) - loop.time())
            for feed in list(self._feeds.values()):
                self._end(feed.seated(_chosen(plan, batch)))

    def cohorts(self) -> list[Cohort]:
        return [cohort for feed in self._feeds.values() for cohort in feed.cohorts]

    def _end(self, viewers: Iterable[ViewerStream]) -> None:
        for viewer in viewers:
            viewer.end(Unavailable("this gateway is going away; connect again with your cursors"))


def _chosen(plan: DrainPlan, batch: int) -> Chosen:
    def chosen(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.equal(plan.batch_of(ids), batch)

    return chosen
