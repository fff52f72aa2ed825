"""The results of all games that this process watches: heard by partition, loaded in batches.

There is one subscription for each partition in which a watched game folds, and none otherwise: a process that
watches nothing is sent nothing. mesh.results_feed.partition_results says what a message means and which games
are to be loaded. Games are loaded by partition, many with one call, and those who ask for the same game share
it: nobody is given a load that began before it asked. Once every ANTI_ENTROPY_S the applied sequences of
these partitions are read, in one call: that finds the loss of a last message, for which no later one leaves a
gap. Announcements of all games come by one subscription, if they are asked for.

Bounds: LOAD_GAMES_MAX games in a call, LOADS_MAX calls at a time, one of them for each partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import PartitionResults
from grandstand.wire import tasks
from mesh import telemetry
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore
from mesh.results_feed import bounds
from mesh.results_feed.partition_results import WatchedPartition
from mesh.results_feed.view import GameView

log = logging.getLogger(__name__)

_SUBSCRIBED_S = 2

OnChanged = Callable[[Mapping[str, Sequence[str]], str], None]
"""Called with the topics that changed, by game, and the trace context of the cause or ""."""


class ResultFeeds:
    """`on_changed`: results of some games; `on_progress`: a partition is known further, or was loaded again;
    `on_forgotten`: the game is gone; `on_announcement`: a game's, encoded; None: they are not heard."""

    def __init__(
        self,
        bus: Bus,
        results: ResultStore,
        *,
        on_changed: OnChanged,
        on_progress: Callable[[int], None],
        on_forgotten: Callable[[str], None],
        on_announcement: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._bus = bus
        self._results = results
        self.on_changed = on_changed
        self.on_progress = on_progress
        self.on_forgotten = on_forgotten
        self._on_announcement = on_announcement
        self._partitions: dict[int, _Partition] = {}
        self._loads = asyncio.Semaphore(bounds.LOADS_MAX)
        self._announcements: Subscription | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._look_now = asyncio.Event()
        bus.on_reconnect(self._look_now.set)
        self._looking = asyncio.create_task(self._look_on())

    async def stop(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._look_now.set)
        await tasks.end(self._looking)
        for partition in list(self._partitions.values()):
            self._leave(partition)
        self._leave_announcements()
        while self._closing or self._leaving:
            await asyncio.wait([*self._closing, *self._leaving])

    def watch(self, game_id: str, view: GameView, partitions: Iterable[int]) -> None:
        """The view hears of these partitions from now on, once it was loaded."""
        for number in partitions:
            partition = self._partitions.get(number)
            if partition is None:
                partition = self._partitions[number] = _Partition(number, self)
            if game_id not in partition.watched:
                partition.watched.watch(game_id, view)

    def unwatch(self, game_id: str) -> None:
        for partition in list(self._partitions.values()):
            partition.watched.unwatch(game_id)
            if not len(partition.watched):
                self._leave(partition)
        if not self._partitions:
            self._leave_announcements()

    async def load(self, game_id: str) -> None:
        """Brings the view up to what the store holds, while it is watched. Raises RedisError, NatsError,
        TimeoutError."""
        loads = [each.loaded(game_id) for each in self._partitions.values() if game_id in each.watched]
        if loads:
            await asyncio.wait(loads)  # not gather: others wait for the same ones
        for load in loads:
            load.result()

    # Of _Partition.

    @property
    def bus(self) -> Bus:
        return self._bus

    @property
    def results(self) -> ResultStore:
        return self._results

    @property
    def loads(self) -> asyncio.Semaphore:
        return self._loads

    async def hear_announcements(self) -> None:
        """Raises NatsError."""
        if self._on_announcement is not None and self._announcements is None:
            self._announcements = await self._bus.client.subscribe(
                subjects.ANNOUNCEMENTS_ALL, cb=self._take_announcement
            )

    async def _take_announcement(self, message: Msg) -> None:
        assert self._on_announcement is not None
        self._on_announcement(message.subject.rpartition(".")[2], message.data)

    def _leave_announcements(self) -> None:
        subscription, self._announcements = self._announcements, None
        if subscription is not None:
            self.leave(subscription)

    def _leave(self, partition: _Partition) -> None:
        del self._partitions[partition.watched.partition]
        loading = partition.close()
        if loading is not None:
            self._closing.add(loading)
            loading.add_done_callback(self._closing.discard)

    def leave(self, subscription: Subscription) -> None:
        task = asyncio.create_task(_unsubscribe(subscription))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    # Anti-entropy.

    async def _look_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(bounds.ANTI_ENTROPY_S):
                    await self._look_now.wait()
            self._look_now.clear()
            if self._partitions:
                try:
                    found = await self._results.applied(list(self._partitions))
                except RedisError as error:
                    log.info("how far partitions are is not known: %s", error)
                    continue
                # What is on its way meanwhile is not lost.
                await asyncio.sleep(bounds.RESULTS_LATE_S)
                silent_since_s = asyncio.get_running_loop().time() - bounds.RESULTS_SILENT_S
                for number, applied in found.items():
                    partition = self._partitions.get(number)
                    if partition is not None and partition.heard_at_s < silent_since_s:
                        partition.watched.look(applied.stream, applied.sequence)
                for partition in list(self._partitions.values()):
                    partition.load_lacking()


class _Partition:
    """The subscription to one partition, and the loads of its games."""

    def __init__(self, number: int, feeds: ResultFeeds) -> None:
        self.watched = WatchedPartition(number)
        self.heard_at_s = -math.inf
        """When the last message came, by the loop's clock."""
        self._feeds = feeds
        self._subscription: Subscription | None = None
        self._is_closed = False
        self._next: dict[str, asyncio.Future[None]] = {}
        """Games of the loads that have not begun."""
        self._loading: asyncio.Task[None] | None = None

    def close(self) -> asyncio.Task[None] | None:
        """Returns the load that is under way, if any. It ends by itself: nats-py does not outlive a flush
        that is cancelled."""
        self._is_closed = True
        waiting, self._next = self._next, {}
        for future in waiting.values():
            # Nobody watches them any more. Not cancelled: that would cancel whoever waits.
            future.set_result(None)
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._feeds.leave(subscription)
        return self._loading

    def loaded(self, game_id: str) -> asyncio.Future[None]:
        """Done when the game was loaded by a call that began after this one."""
        future = self._next.get(game_id)
        if future is None:
            future = self._next[game_id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_heard)
        if self._loading is None:
            with telemetry.detached():
                self._loading = asyncio.create_task(self._load_on())
        return future

    def load_lacking(self) -> None:
        for game_id in self.watched.lacking:
            self.loaded(game_id)

    async def _load_on(self) -> None:
        try:
            while self._next:
                async with self._feeds.loads:
                    chosen = list(self._next)[: bounds.LOAD_GAMES_MAX]
                    batch = {game_id: self._next.pop(game_id) for game_id in chosen}
                    await self._load(batch)
        finally:
            self._loading = None

    async def _load(self, batch: dict[str, asyncio.Future[None]]) -> None:
        number, feeds = self.watched.partition, self._feeds
        try:
            if self._subscription is None:
                await self._subscribe()
            shares = await feeds.results.shares(number, list(batch))
        except (NatsError, RedisError, TimeoutError) as error:
            log.info("partition %d is not read: %s", number, str(error) or type(error).__name__)
            for future in batch.values():
                if not future.done():
                    future.set_exception(error)
            return
        changed = {game_id: self.watched.load(game_id, share) for game_id, share in shares.items()}
        feeds.on_changed({game_id: topics for game_id, topics in changed.items() if topics}, "")
        for future in batch.values():
            if not future.done():
                future.set_result(None)
        feeds.on_progress(number)

    async def _subscribe(self) -> None:
        """Before the first load: what is stored later is heard. Raises NatsError, TimeoutError."""
        feeds, client = self._feeds, self._feeds.bus.client
        await feeds.hear_announcements()
        subscription = await client.subscribe(subjects.results(self.watched.partition), cb=self._take)
        if self._is_closed:
            feeds.leave(subscription)
            return
        self._subscription = subscription
        try:
            await client.flush(_SUBSCRIBED_S)
        except BaseException:
            self._subscription = None
            feeds.leave(subscription)
            raise

    async def _take(self, message: Msg) -> None:
        self.heard_at_s = asyncio.get_running_loop().time()
        try:
            heard = self.watched.hear(PartitionResults.FromString(message.data))
        except DecodeError as error:
            log.warning("partition %d: results that do not decode: %s", self.watched.partition, error)
            return
        feeds = self._feeds
        if heard.topics:
            feeds.on_changed(heard.topics, telemetry.cause_in(message.headers))
        for game_id in heard.forgotten:
            feeds.on_forgotten(game_id)
        feeds.on_progress(self.watched.partition)
        if self.watched.lacking:
            self.load_lacking()


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(NatsError):
        await subscription.unsubscribe()


def _heard(future: asyncio.Future[None]) -> None:
    """Its error is raised to those who wait for it, if any do."""
    future.exception()
