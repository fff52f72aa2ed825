"""The catalog's key-value bucket: revisions, compare-and-set, and watches that deliver in order, but late.

A watch goes over its process's connection: it is as late as its process is stopped or cut off, and
when a cut is over it goes on where it was, or has died without anybody being told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

from tests.simulation.calls import ask
from tests.simulation.cuts import Cuts
from tests.simulation.nats import ModelNats
from tests.simulation.process import Process
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    revision: int
    created_us: int
    """By the clock of the bucket's leader, when it was stored."""


class ModelBucket:
    def __init__(self, world: World, nats: ModelNats, cuts: Cuts) -> None:
        self._world = world
        self._nats = nats
        self._cuts = cuts
        self._entries: dict[str, Entry] = {}
        self._older: dict[str, Entry] = {}
        self._revision = 0
        self._watches: list[Watching] = []

    def put(self, key: str, value: bytes, last: int | None = None) -> int:
        """The new revision. `last`: the one that must stand there, 0 for none; raises
        KeyWrongLastSequenceError."""
        found = self._entries.get(key)
        if last is not None and last != (found.revision if found else 0):
            raise KeyWrongLastSequenceError
        self._revision += 1
        entry = Entry(key, value, self._revision, self._nats.bucket_clock.now_us)
        if found is not None:
            self._older[key] = found
        self._entries[key] = entry
        for watch in self._watches:
            watch.stored(entry)
        return entry.revision

    def get(self, key: str) -> Entry:
        """Raises KeyNotFoundError, of what is deleted too."""
        return _standing(self._entries.get(key))

    def get_of_any(self, key: str) -> Entry:
        """As a follower answers, which may lag."""
        return _standing(self._older.get(key)) if self._world.odds(0.2) else self.get(key)

    def last(self) -> int:
        return self._revision

    def last_of(self, pattern: str) -> Entry | None:
        """As the leader answers. "*" stands for the key's end."""
        start = pattern.removesuffix("*")
        if start == pattern:
            return self._entries.get(pattern)
        found = (entry for key, entry in self._entries.items() if key.startswith(start))
        return max(found, key=lambda entry: entry.revision, default=None)

    def purge(self, key: str, below: int) -> None:
        found = self._entries.get(key)
        if found is not None and found.revision < below:
            del self._entries[key]
            self._older.pop(key, None)

    def watch(
        self, process: Process, wanted: Callable[[str], bool], take: Callable[[Entry], None]
    ) -> Watching:
        """All entries there are of the wanted keys, and every later one; each given to `take` in the
        process's turn."""
        watch = Watching(self._world, self._cuts, process, wanted, take)
        for entry in sorted(self._entries.values(), key=lambda entry: entry.revision):
            watch.stored(entry)
        self._watches.append(watch)
        return watch

    def stop(self, watch: Watching) -> None:
        watch.is_dead = True
        if watch in self._watches:
            self._watches.remove(watch)


def _standing(found: Entry | None) -> Entry:
    if found is None or not found.value:
        raise KeyNotFoundError(found)
    return found


class Watching:
    """One watch of one process."""

    def __init__(
        self,
        world: World,
        cuts: Cuts,
        process: Process,
        wanted: Callable[[str], bool],
        take: Callable[[Entry], None],
    ) -> None:
        self._world = world
        self._cuts = cuts
        self._process = process
        self._life = process.life
        self._wanted = wanted
        self._take = take
        self._queue: deque[Entry] = deque()
        self._mean_s = world.random.choice((0.004, 0.004, 0.004, 0.3))
        """Some are late all the time."""
        self.is_dead = False

    def stored(self, entry: Entry) -> None:
        if self.is_dead or not self._wanted(entry.key):
            return
        # The bucket keeps one entry a key: one that is replaced may never be delivered.
        if self._queue and self._world.random.random() < 0.5:
            self._queue = deque(earlier for earlier in self._queue if earlier.key != entry.key)
        left_s = self._cuts.left_s(self._process.name, "bucket")
        if left_s and self._world.random.random() < 0.2:
            self.is_dead = True
            return
        self._queue.append(entry)
        self._world.after(left_s + self._world.random.expovariate(1 / self._mean_s), self._arrive)

    def _arrive(self) -> None:
        self._process.in_turn(self._next, self._life)

    def _next(self) -> None:
        """One for each that was stored, whichever is due: in their order."""
        if self._queue and not self.is_dead:
            self._take(self._queue.popleft())


class BucketClient:
    """What nats.js.kv.KeyValue is to a process."""

    def __init__(self, process: Process, bucket: ModelBucket, cuts: Cuts) -> None:
        self._process = process
        self._bucket = bucket
        self._cuts = cuts

    async def get(self, key: str) -> Entry:
        return await self._call(lambda: self._bucket.get_of_any(key))

    async def put(self, key: str, value: bytes) -> int:
        return await self._call(lambda: self._bucket.put(key, value))

    async def update(self, key: str, value: bytes, last: int | None = None) -> int:
        return await self._call(lambda: self._bucket.put(key, value, last or 0))

    async def last(self) -> int:
        return await self._call(self._bucket.last)

    async def last_of(self, pattern: str) -> Entry | None:
        return await self._call(lambda: self._bucket.last_of(pattern))

    async def purge(self, key: str, below: int) -> None:
        await self._call(lambda: self._bucket.purge(key, below))

    async def _call(self, effect: Callable[[], Any]) -> Any:
        return await ask(self._process, self._cuts, "bucket", effect, NatsTimeoutError)
