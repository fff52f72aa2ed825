"""Actors' own places on boards: read from Redis when they may have changed, sent to the viewers who watch
them.

gateway.standing_plan decides which place is read when, gateway.own_standing which reading may be shown.
Viewers of one actor and board share a reading. While Redis is away places stay as they are and are read again
later.

Bounds: those of the plan; one batch is under way at a time, so a slow Redis only makes places older.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.own_standing import (
    BoardReading,
    OwnStanding,
    StandingReading,
    Watermarks,
    board_reading,
    no_standing,
    reading_of,
    wanted_of,
)
from gateway.standing_plan import StandingKey, StandingPlan
from gateway.wake_loop import WakeLoop
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import actors, ids
from grandstand.wire.errors import Unknown
from mesh.catalog.view import CatalogView
from mesh.jetstream import subjects
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.redis.database import RedisError
from mesh.redis.ranking import BoardName
from mesh.redis.standings import StandingStore

log = logging.getLogger(__name__)

Offer = Callable[[TopicState, int], None]
"""Takes a state and its version, which grows."""


class _WatchedStanding:
    """A place, and who watches it; what each wants to be included in its first state."""

    __slots__ = ("own", "watchers")

    def __init__(self) -> None:
        self.own = OwnStanding()
        self.watchers: dict[Offer, Mapping[int, int]] = {}


class WatchedStandings:
    def __init__(
        self,
        store: StandingStore,
        catalog: CatalogView,
        plan: StandingPlan | None = None,
        *,
        public: PublicId = UNKEYED,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._public = public
        self._plan = plan or StandingPlan()
        self._watermarks = Watermarks()
        self._places: dict[StandingKey, _WatchedStanding] = {}
        self._wake_loop = WakeLoop(self._step, self._plan.next_at_s)
        self._is_away = False
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many places are watched."""
        return len(self._places)

    def start(self) -> None:
        self._wake_loop.start()

    async def stop(self) -> None:
        await self._wake_loop.stop()

    def watch(self, place: StandingKey, at_least: Iterable[Position], offer: Offer) -> None:
        """`offer` is called with each state from now on, the first of which includes `at_least`; at once, if
        one is known. Raises Unknown."""
        name = self._name(place.game_id, place.board_id)
        wanted = wanted_of(at_least, ids.partitions_of(name.game_id, name.spread))
        watched = self._places.get(place)
        if watched is None:
            watched = self._places[place] = _WatchedStanding()
        self._plan.watch(place, max(1, name.spread))
        watched.watchers[offer] = wanted
        reading = watched.own.reading
        if reading is None or not reading.includes(wanted):
            self._plan.want(place)
            self._wake_loop.nudge()
        else:
            self._tell(place, watched, reading)

    def unwatch(self, place: StandingKey, offer: Offer) -> None:
        watched = self._places[place]
        del watched.watchers[offer]
        if not watched.watchers:
            del self._places[place]
        self._plan.unwatch(place)

    def board_changed(self, game_id: str, board_id: str) -> None:
        self._plan.board_changed(game_id, board_id)
        self._wake_loop.nudge()

    def _name(self, game_id: str, board_id: str) -> BoardName:
        return BoardName(game_id, board_id, self._catalog.game(game_id).spread)

    async def _step(self) -> bool:
        batch = self._plan.take(self._loop.time())
        if batch:
            await self._read(batch)
        return bool(batch)

    async def _read(self, batch: Sequence[StandingKey]) -> None:
        self._watermarks.begin()
        try:
            boards = await self._read_boards(batch)
            asked = [(place, board) for place in batch if (board := boards[place[:2]]) is not None]
            found = await self._store.read_many([(board.ranking, place.actor_id) for place, board in asked])
        except RedisError as error:
            self._away(error)
            for place in batch:
                self._plan.again(place, self._loop.time())
            return
        self._back()
        for (place, board), standing in zip(asked, found, strict=True):
            if standing is None:
                log.warning(
                    "%s of game %s is broken at actor %s",
                    board.ranking.topic,
                    place.game_id,
                    actors.said(place.actor_id),
                )
            elif self._watermarks.passes(board.before, standing.applied):
                self._take(place, reading_of(board, standing, self._public))
            else:
                self._plan.again(place, self._loop.time())
        for place in batch:
            if boards[place[:2]] is None:
                self._take_none(place)

    async def _read_boards(self, batch: Sequence[StandingKey]) -> dict[tuple[str, str], BoardReading | None]:
        """None of a board that is not there, or not whole."""
        names = []
        found: dict[tuple[str, str], BoardReading | None] = {}
        for key in dict.fromkeys(place[:2] for place in batch):
            found[key] = None
            with contextlib.suppress(Unknown):
                names.append(self._name(*key))
        for name, shares in zip(names, await self._store.shares(names), strict=True):
            found[name.game_id, name.board_id] = board_reading(name, shares)
        return found

    def _take_none(self, place: StandingKey) -> None:
        """There is no such board, or it is opened or folded again right now."""
        watched = self._places.get(place)
        if watched is None:
            return
        if subjects.board_key(place.game_id, place.board_id) in self._catalog:
            self._plan.again(place, self._loop.time())
        elif watched.own.reading is None:
            self._take(place, no_standing(place.board_id))

    def _take(self, place: StandingKey, reading: StandingReading) -> None:
        watched = self._places.get(place)
        if watched is not None:
            watched.own.take(reading)
            self._tell(place, watched, reading)

    def _tell(self, place: StandingKey, watched: _WatchedStanding, reading: StandingReading) -> None:
        own = watched.own
        for offer, wanted in list(watched.watchers.items()):
            if offer not in watched.watchers:  # one that was told before it left with this one
                continue
            if reading.includes(wanted):
                watched.watchers[offer] = {}
                offer(reading.state, own.version)
            else:
                self._plan.again(place, self._loop.time())

    def _away(self, error: RedisError) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("standings are not read: %s; they stay as they are and are read again", error)

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("standings are read again")
