"""The fan-out: from the view of a game to the frames of every viewer's stream.

`FanOut` is the seam: `subscribe` checks a request and yields the encoded messages of one
viewer's stream. Behind it today is a grpc.aio stream for each viewer; the HTTP/2 engine
that writes one buffer for a whole cohort takes its place without anything above or below
noticing: views, cohorts and feeds know nothing of streams.

Bounds: VIEWERS_MAX viewers (RESOURCE_EXHAUSTED beyond).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.cohort import CohortKey, Frame, heartbeat
from gateway.feed import Feed, Viewer
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from mesh import ids, limits, subjects
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.errors import Exhausted, Invalid, Unavailable
from mesh.store import ResultStore
from mesh.topics import TopicPatterns, check_positions


class FanOut(Protocol):
    def subscribe(self, request: SubscribeRequest) -> AsyncIterator[bytes]:
        """The encoded SubscribeResponses of one viewer, until it is cancelled.

        A Snapshot that includes every position and cursor of the request comes first.
        Raises Invalid, Unknown, TooLate, Exhausted before the first message; Unavailable
        when the gateway drains.
        """
        ...


class StreamFanOut:
    """FanOut with one grpc.aio stream for each viewer."""

    def __init__(
        self, bus: Bus, results: ResultStore, catalog: CatalogWatch, draining: asyncio.Event
    ) -> None:
        self._bus = bus
        self._results = results
        self._catalog = catalog
        self._draining = draining
        self._feeds: dict[str, Feed] = {}
        self._viewers = 0
        self._drainer = asyncio.create_task(self._drain())

    async def subscribe(self, request: SubscribeRequest) -> AsyncIterator[bytes]:
        key, wanted = self._check(request)
        if subjects.game_key(key.game_id) not in self._catalog.view:
            await self._catalog.refresh(subjects.game_key(key.game_id))
        self._catalog.view.game(key.game_id)  # raises Unknown
        if self._draining.is_set():
            raise Unavailable("this gateway is going away; connect again")
        if self._viewers >= limits.VIEWERS_MAX:
            raise Exhausted(
                f"this gateway has {limits.VIEWERS_MAX} viewers, the most it takes; try another in a second"
            )
        self._viewers += 1
        feed = self._feeds.get(key.game_id)
        if feed is None:
            feed = self._feeds[key.game_id] = Feed(
                self._bus, self._results, self._catalog.view, key.game_id, self._feeds
            )
        try:
            async with feed.watched():
                await feed.reach(wanted)
                async for message in self._messages(feed, key):
                    yield message
        finally:
            self._viewers -= 1

    async def _messages(self, feed: Feed, key: CohortKey) -> AsyncIterator[bytes]:
        viewer = Viewer()
        cohort = feed.join(key, viewer)
        frame: Frame | None = cohort.snapshot(time.time())
        try:
            while True:
                viewer.wake.clear()
                if frame is not None:
                    viewer.version = frame.version
                    viewer.heartbeat_due = False
                    yield frame.encoded
                elif viewer.heartbeat_due:
                    viewer.heartbeat_due = False
                    yield heartbeat(time.time())
                while viewer.announcements:
                    yield viewer.announcements.popleft()
                await viewer.wake.wait()
                frame = cohort.update(viewer.version, time.time())
                if self._draining.is_set():
                    raise Unavailable("this gateway is going away; connect again with your cursors")
        finally:
            feed.leave(key, viewer)

    def _check(self, request: SubscribeRequest) -> tuple[CohortKey, list[Position]]:
        game_id = ids.check_id("game_id", request.game_id)
        rate = request.max_updates_per_s or limits.UPDATES_PER_S_MAX
        if rate > limits.UPDATES_PER_S_MAX:
            raise Invalid(f"max_updates_per_s: is {rate}; 1 to {limits.UPDATES_PER_S_MAX} are allowed")
        if len(request.cursors) > limits.POSITIONS_MAX:
            raise Invalid(
                f"cursors: {len(request.cursors)} cursors; at most {limits.POSITIONS_MAX} are allowed"
            )
        wanted = check_positions(request.positions)
        for cursor in request.cursors:
            ids.parse_topic(cursor.topic)
            wanted += check_positions(cursor.cursor.positions, "cursors.positions")
        return CohortKey(game_id, TopicPatterns(request.topics), rate), wanted

    async def _drain(self) -> None:
        await self._draining.wait()
        for feed in self._feeds.values():
            feed.wake_all()

    async def stop(self) -> None:
        self._drainer.cancel()
        await asyncio.gather(*(feed.stop() for feed in list(self._feeds.values())))
