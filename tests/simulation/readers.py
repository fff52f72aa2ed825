"""Viewers: a gateway that holds views of all games, and reads for those who come, perhaps with positions.

Both by the real path: ResultStore, GameView. What is read must be the naive count of what it says to
include; no share is older than one that was shown before, unless what Redis held went back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Partial, PartitionResults
from grandstand.wire import ids
from grandstand.wire.errors import TooLate, Unavailable
from mesh import limits
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from mesh.results_feed.partition_results import WatchedPartition
from mesh.results_feed.view import GameView
from tests.simulation import checks
from tests.simulation.mesh import Mesh
from tests.simulation.process import Process
from tests.simulation.redis import RedisClient

if TYPE_CHECKING:
    from tests.simulation.history import History

_PAUSE_S = 0.7


class Gateway(Process):
    """Merges what is published, and what it reads."""

    def __init__(self, mesh: Mesh, history: History) -> None:
        super().__init__(mesh.world, "gateway-views")
        self._mesh = mesh
        self._history = history
        self._views: dict[str, GameView] = {}
        self._watched: dict[int, WatchedPartition] = {}
        self._shown: dict[tuple[str, str], TopicState] = {}
        self.floor: dict[int, int] = {}
        """By partition: how far a whole share was that somebody has been shown."""
        self._floor_of = 0
        self.born()

    def born(self) -> None:
        self.spawn(self._read_on())

    def forget(self) -> None:
        """What was seen may have been lost."""
        self.floor.clear()
        self._views.clear()
        self._watched.clear()
        self._shown.clear()

    def hear(self, results: PartitionResults) -> None:
        """Published."""
        lives = self.world.losses

        def take() -> None:
            if lives == self.world.losses:
                for game in results.games:
                    self._view(game.game_id)
                heard = self._partition(results.partition).hear(results)
                for game_id, topics in heard.topics.items():
                    for topic in topics:
                        self._check_shown(game_id, topic)
                for game_id in heard.forgotten:
                    self._drop(game_id)

        if not self.world.odds(0.1):
            self.then(take, 0.1)

    def _drop(self, game_id: str) -> None:
        """What comes next is of another game of this id."""
        self._views.pop(game_id, None)
        for watched in self._watched.values():
            watched.unwatch(game_id)
        self._shown = {key: state for key, state in self._shown.items() if key[0] != game_id}

    def _partition(self, number: int) -> WatchedPartition:
        found = self._watched.get(number)
        if found is None:
            found = self._watched[number] = WatchedPartition(number)
        return found

    def _view(self, game_id: str) -> GameView:
        """It is watched in all of its partitions."""
        view = self._views.get(game_id)
        if view is None:
            view = self._views[game_id] = GameView()
        partitions = frozenset(ids.partitions_of(game_id, self._history.spreads.get(game_id, 1)))
        for number in partitions - view.partitions:
            self._partition(number).watch(game_id, view)
        view.fold_in(partitions | view.partitions)
        return view

    async def _read_on(self) -> None:
        client: Any = RedisClient(self, self._mesh.redis)
        store = ResultStore(client)
        random = self.world.random
        while True:
            await asyncio.sleep(random.uniform(0, 2 * _PAUSE_S))
            if self.world.calm:
                return
            games = self._history.spreads
            if games:
                game_id = random.choice(sorted(games))
                await self._read(store, game_id, games[game_id])

    async def _read(self, store: ResultStore, game_id: str, spread: int) -> None:
        told, redis = self._mesh.told, self._mesh.redis
        losses, went_back = self.world.losses, redis.went_back
        if losses and any(checks.is_of_lost(self._history, p) for p in ids.partitions_of(game_id, spread)):
            return
        if self._floor_of != went_back:
            self._floor_of, self.floor = went_back, {}
        floor = dict(self.floor)
        positions = self._history.positions(game_id) if self.world.random.random() < 0.6 else []
        wanted = [Position(partition=p, sequence=s) for p, s in positions]
        try:
            shares = await store.read_at_least(game_id, spread, wanted, limits.BARRIER_S)
        except (RedisError, TooLate, Unavailable):
            return
        if losses != self.world.losses or not self._history.is_one_line:
            return
        told.reads += 1
        told.reads_with_position += bool(wanted)
        for share in shares:
            self._check_share(game_id, share)
            reached = max((s for p, s in positions if p == share.partition), default=0)
            assert share.applied >= reached, f"{game_id}: asked for {reached}, read {share.applied} (I6)"
            if went_back == redis.went_back and redis.is_one:
                before = floor.get(share.partition, 0)
                assert share.applied >= before, (
                    f"{game_id}: partition {share.partition} was shown at {before}, and a new reader is "
                    f"shown it at {share.applied}"
                )
                self.floor[share.partition] = max(share.applied, self.floor.get(share.partition, 0))
        view = self._view(game_id)
        for share in shares:
            self._partition(share.partition).load(game_id, share)
        for topic in {topic for share in shares for topic in share.partials}:
            self._check_shown(game_id, topic)
        for share in shares:
            self._check_known(game_id, view, share.partition)

    def _check_known(self, game_id: str, view: GameView, partition: int) -> None:
        """All up to where a view says to be is in it (I6)."""
        applied = view.applied(partition)
        assert applied is not None
        self._history.catch_up()
        for (of_game, topic), counted in self._history.naive[partition].topics.items():
            if of_game == game_id and counted.at(applied) is not None:
                partial = view.partial(topic, partition)
                assert partial is not None, f"{game_id} {topic} of {partition} is missing at {applied} (I6)"
                self._history.check_partial(partial, max(applied, partial.sequence))

    def _check_share(self, game_id: str, share: Share) -> None:
        """It holds all that the stream holds up to where it says to be."""
        self._history.catch_up()
        naive = self._history.naive[share.partition]
        for (of_game, topic), counted in naive.topics.items():
            if of_game != game_id or counted.at(share.applied) is None:
                continue
            assert topic in share.partials, (
                f"{game_id} {topic} of partition {share.partition} is missing at {share.applied}"
            )
            self._history.check_partial(share.partials[topic], share.applied)

    def _check_shown(self, game_id: str, topic: str) -> None:
        """What a viewer is shown never goes back, and nothing changes after the seal."""
        key = (game_id, topic)
        after = self._views[game_id].shown(topic, self.world.now_s).state
        before = self._shown.get(key, TopicState())
        self._shown[key] = after
        reached = {position.partition: position.sequence for position in after.cursor.positions}
        for position in before.cursor.positions:
            assert reached.get(position.partition, 0) >= position.sequence, f"{key} went back (I5)"
        is_whole = len(before.cursor.positions) == self._history.spreads.get(game_id)
        if before.stage == STAGE_SEALED and is_whole and not self._history.lives_twice(game_id):
            assert after.tally == before.tally, f"{key} changed after its seal (I9)"


Check = Callable[[Partial, int], None]
