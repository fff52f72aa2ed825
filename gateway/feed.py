"""What feeds a game's viewers: its view, its cohorts, and the viewers that wait for a seat.

A game is fed while it has viewers and GAME_LINGER_S longer. Its results come by the gateway's ResultFeeds,
and the view is loaded before the first viewer is seated. It has no task, timer or subscription of its own,
but while viewers wait for something.

Who comes once the opening of a poll or a board is answered finds it in its Snapshot. The answer says that it
is folded, but the message that says so here may come later, or not at all. The catalog's entry came before
the fold, so a viewer who comes while the view lacks a topic that was opened a moment ago waits, as at a read
barrier, and the store is read. It is not refused if the topic does not come: it may be that nothing folds.

Bounds: the viewers that mesh.stream_limits admits; no queue for any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from math import inf
from typing import Protocol

from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from gateway import bounds, frames
from gateway.cohort import Cohort, CohortKey
from gateway.frame_counts import FrameCounts
from gateway.overload import Overload
from gateway.read_barrier import BarrierWaiters
from gateway.subscribe import ViewerStream
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Game, Poll
from grandstand.wire import ids
from grandstand.wire.errors import Unavailable, Unknown
from grandstand.wire.topics import TopicPatterns
from mesh import limits, telemetry, wall_clock
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.http2.members import Chosen
from mesh.http2.shared_message import Shared
from mesh.jetstream import subjects
from mesh.redis.database import RedisError
from mesh.results_feed.result_feeds import ResultFeeds
from mesh.results_feed.view import GameView

log = logging.getLogger(__name__)

_BOARD = "board/"
_OPENED_S = 2 * limits.BARRIER_S
"""A topic that was opened so long ago, and is not there, is not waited for."""
_ENDED_AT_ONCE = 200
"""Viewers whose streams are ended in one turn of the loop."""


class FeedHost(Protocol):
    """What all games of a gateway share (gateway.fanout)."""

    results: ResultFeeds
    catalog: CatalogWatch
    spreads: Spreads
    overload: Overload
    counts: FrameCounts

    def now(self) -> float:
        """Unix seconds."""

    def joined(self, viewer: ViewerStream) -> None:
        """The viewer got its seat."""

    def board_changed(self, game_id: str, board_id: str) -> None: ...
    def idle(self, feed: Feed) -> None:
        """Its last viewer has left."""

    def tick_at(self, feed: Feed, at_s: float) -> None:
        """Call `tick` then, or sooner."""

    def waits(self, feed: Feed) -> None:
        """Call `progressed` for a while."""


class Feed:
    """One game."""

    def __init__(self, host: FeedHost, game: Game) -> None:
        self.view = GameView(host.catalog.public_id)
        self.game_id = game.game_id
        self.generation = game.generation
        self._host = host
        self._game = game
        self._loop = asyncio.get_running_loop()
        self._cohorts: dict[CohortKey, Cohort] = {}
        self._viewers: dict[ViewerStream, Cohort | None] = {}
        self._arriving: list[ViewerStream] = []
        """Until the feed has started."""
        self._barrier_waiters = BarrierWaiters(
            *(self.view, self._load, self._refresh, self._seat), self._lacks_opened
        )
        self._starting: asyncio.Task[None] | None = None
        self._has_started = False
        self._ending: asyncio.Task[None] | None = None
        self._loads: set[asyncio.Task[None]] = set()
        self._is_forgotten = False
        self._is_final = False
        """It was loaded since it was sealed."""
        self._flushes: set[CohortKey] = set()
        self._causes: list[str] = []
        self._heard_ns = 0
        """When the first of them was heard."""

    @property
    def cohorts(self) -> list[Cohort]:
        return list(self._cohorts.values())

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def has_viewers(self) -> bool:
        return bool(self._viewers)

    # Viewers.

    def join(self, viewer: ViewerStream) -> None:
        """The viewer is sent its snapshot as soon as it can be, or ended."""
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
        if not self._viewers:
            self._host.idle(self)

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
        if (
            view.unloaded() is not None
            or (
                subscription.resumes
                and (subscription.is_outside(view) or subscription.missing(view) is not None)
            )
            or self._lacks_opened(viewer)
        ):
            self._barrier_waiters.add(viewer)
            self._host.waits(self)
        else:
            self._seat(viewer)

    def _seat(self, viewer: ViewerStream) -> None:
        subscription = viewer.subscription
        assert subscription is not None
        key, at_s = subscription.key, self._loop.time()
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(
                *(key, self.view, lambda: self._flush_soon(key), self._now()),
                *(self._sealed_at_s, self._host.counts),
            )
            rate = self._host.overload.updates_per_s(key.updates_per_s, key.tier)
            cohort.frames.renditioned(rate)
        # The last tick may be of before a topic was opened.
        ahead = subscription.resumes or any(
            not cohort.frames.shows(topic) for topic in self._opened(key.patterns)
        )
        cohort.join(viewer.call, ahead=ahead, at_s=at_s)
        self._viewers[viewer] = cohort
        self._host.joined(viewer)
        # All of a cohort are the same but for who they are.
        viewer.game_id = self.game_id
        viewer.subscription = None
        if self.is_over:
            self._end_soon()

    def _opened(self, patterns: TopicPatterns) -> Iterator[str]:
        """The topics that match, of those that were opened a moment ago."""
        catalog, after_ns = self._host.catalog.view, int((self._now() - _OPENED_S) * 1e9)
        for keys in catalog.opened(self.game_id):
            for key in keys:
                if catalog.opened_at_ns(key) < after_ns:
                    break  # the newest come first
                topic = catalog.get(key)
                if isinstance(topic, Game) or topic is None or 0 < topic.generation < self.generation:
                    continue  # left by an earlier game of the id
                kind = "poll" if isinstance(topic, Poll) else "board"
                name = f"{kind}/{key.rpartition('.')[2]}"
                if patterns.match(name):
                    yield name

    def _lacks_opened(self, viewer: ViewerStream) -> bool:
        """Whether the view lacks something that was opened a moment ago and that the viewer asks for."""
        subscription = viewer.subscription
        assert subscription is not None
        return any(not self.view.has(topic) for topic in self._opened(subscription.key.patterns))

    # The game's results.

    async def _start(self) -> None:
        try:
            self._follow()
            await self._host.results.load(self.game_id)
        except (NatsError, RedisError, TimeoutError, Unknown) as error:
            self._starting = None
            arriving, self._arriving = self._arriving, []
            for viewer in arriving:
                viewer.end(Unavailable(f"results cannot be read now ({type(error).__name__}); try again"))
            return
        self._has_started = True
        arriving, self._arriving = self._arriving, []
        for viewer in arriving:
            if viewer in self._viewers:
                self._admit(viewer)

    def _follow(self) -> bool:
        """All partitions that the game folds in, as the catalog has it now: a game without topics may still
        be spread again. True if there are new ones, which are to be loaded. Raises Unknown."""
        partitions = frozenset(ids.partitions_of(self.game_id, self._host.spreads.of(self.game_id)))
        if partitions <= self.view.partitions:
            return False
        self.view.fold_in(partitions)
        self._host.results.watch(self.game_id, self.view, partitions)
        return True

    async def _load(self) -> None:
        """Brings the view up to what the store holds, if it can be read."""
        try:
            self._follow()
            await self._host.results.load(self.game_id)
        except (NatsError, RedisError, TimeoutError, Unknown) as error:
            log.info("game %s is not read: %s", self.game_id, error, extra={"game": self.game_id})

    async def _refresh(self) -> None:
        """The game's spread, past the catalog's watch."""
        with contextlib.suppress(Unavailable):
            await self._host.catalog.refresh(subjects.game_key(self.game_id))

    def changed(self, topics: Sequence[str], cause: str, at_s: float, now_s: float) -> None:
        """The view shows something new of these topics. `cause`: a trace context, or "". `at_s`: monotonic
        seconds, `now_s`: Unix seconds."""
        if cause and len(self._causes) < telemetry.LINKS_MAX:
            self._causes.append(cause)
            self._heard_ns = self._heard_ns or wall_clock.now_ns()
        for topic in topics:
            if topic.startswith(_BOARD):
                self._host.board_changed(self.game_id, topic[len(_BOARD) :])
        self.tick(at_s, now_s)

    def progressed(self) -> bool:
        """A partition of some game is known further. False once nobody waits for that here."""
        self._barrier_waiters.news()
        return self._barrier_waiters.are_waiting

    def announce(self, encoded: bytes) -> None:
        """Sends an encoded SubscribeResponse to everybody, not conflated."""
        now = self._loop.time()
        for cohort in self._cohorts.values():
            cohort.note(encoded, now)

    def stop(self) -> None:
        self._barrier_waiters.stop()
        self._host.results.unwatch(self.game_id)
        for task in (self._starting, self._ending, *self._loads):
            if task is not None:
                task.cancel()

    def _sealed_at_s(self, topic: str) -> float:
        """When a sealed topic was sealed, Unix seconds; 0 if that is not known."""
        kind, _, name = topic.partition("/")
        view = self._host.catalog.view
        ended_at = self._game.ended_at
        with contextlib.suppress(Unknown):
            if kind == "poll":
                ended_at = view.poll(self.game_id, name).closes_at
            elif kind == "board":
                ended_at = view.board(self.game_id, name).closes_at
        return ended_at.seconds + limits.SEAL_GRACE_S if ended_at.seconds else 0.0

    # The game's end.

    @property
    def is_over(self) -> bool:
        """It has ended and its results are sealed, or it is forgotten."""
        return self._game.stage == STAGE_SEALED or self._is_forgotten

    def look_at(self, game: Game | None) -> None:
        """The catalog has changed; `game`: as it is there now."""
        if game is None or game.generation != self.generation:
            self.forget()
            return
        self._game = game
        if self.is_over:
            self._end_soon()
        elif self._has_started and self._follow():
            with telemetry.detached():
                task = asyncio.create_task(self._load())
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)

    def forget(self) -> None:
        """The game is gone."""
        self._is_forgotten = True
        self._end_soon()

    def _end_soon(self) -> None:
        if self._ending is None and self._viewers:
            with telemetry.detached():
                self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        """Tells all viewers that nothing is to come, and ends their streams."""
        if not self._is_forgotten and not self._is_final:
            await self._load()
            self._is_final = True
        self._tick_now()
        while viewers := [viewer for viewer in self._viewers if self._may_end(viewer)]:
            message = frames.game_ended(self._game.ended_at, self._now())
            for viewer in viewers[:_ENDED_AT_ONCE]:
                cohort = self._viewers[viewer]
                if cohort is not None:
                    cohort.send_newest(viewer.call, self._now())
                viewer.finish(message)
            await asyncio.sleep(0)
        self._ending = None

    def _may_end(self, viewer: ViewerStream) -> bool:
        """Who waits for its seat is shown the results first, if there are any."""
        return self._is_forgotten or self._viewers[viewer] is not None

    # Ticks.

    def _now(self) -> float:
        return self._host.now()

    def tick(self, at_s: float, now_s: float) -> None:
        """Ticks the cohorts that are due, and asks to be called again for the next."""
        if self._causes:
            self._tick_traced(at_s, now_s)
        next_at_s = inf
        for cohort in self._cohorts.values():
            due_at_s = cohort.frames.due_at_s()
            if due_at_s is None:
                continue
            if due_at_s <= at_s:
                cohort.tick(at_s, now_s)
            elif due_at_s < next_at_s:
                next_at_s = due_at_s
        if next_at_s < inf:
            self._host.tick_at(self, next_at_s)

    def _tick_traced(self, at_s: float, now_s: float) -> None:
        due = [each for each in self._cohorts.values() if (each.frames.due_at_s() or inf) <= at_s]
        if not due:
            return
        causes, self._causes = self._causes, []
        heard_ns, self._heard_ns = self._heard_ns, 0
        attributes: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "results",
            "grandstand.game": self.game_id,
            "grandstand.viewers": sum(len(cohort) for cohort in due),
        }
        with telemetry.batch_span(
            "process results", SpanKind.CONSUMER, causes, attributes, started_ns=heard_ns
        ) as span:
            if span is not None:
                span.event("tick", wall_clock.now_ns())
            for cohort in due:
                cohort.tick(at_s, now_s)

    def _tick_now(self) -> None:
        self.tick(self._loop.time(), self._now())

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
        overload = self._host.overload
        for cohort in self._cohorts.values():
            rate = overload.updates_per_s(cohort.key.updates_per_s, cohort.key.tier)
            cohort.render(rate, overload.reason(), at_s, now)
        self.tick(at_s, now)
