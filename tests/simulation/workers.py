"""Aggregation workers: the real Partition, loading and PartitionStore, with a model of the shell.

As aggregate.worker and aggregate.tenure: acquire the lease, mark or erase, load, then pull, fold, flush,
publish what the flush held. Each is a step of its own, so a worker may stop, die or lose its
Redis between any two. Whatever goes wrong has one answer: give the lease up and acquire again.

More hostile than the real shell: every worker tries for every partition all the time, gives up
what it owns for no reason, is handed old blocks again, and some of them never look at whether
their lease has lapsed by their own clock: the fence alone must hold (I3).
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from aggregate.loading import load
from aggregate.partition import Flush, Loaded, Partition
from grandstand.internal.v1.internal_pb2 import Partial, VotedRequest, VotedResponse
from mesh import limits
from mesh.store import Acquired, Corrupt, Fenced, PartitionStore, Rewound
from tests.simulation.database import ModelDatabase
from tests.simulation.process import Process
from tests.simulation.stream import ModelStream
from tests.simulation.world import World

STREAM = "the one stream"
_ENDS = (Fenced, Rewound, Corrupt, RedisError)
Result = TypeVar("Result")


def at_once(step: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that waits for nothing."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the model waits for nothing")


class ModelWorker(Process):
    def __init__(
        self,
        world: World,
        name: str,
        partitions: Sequence[int],
        workers: Workers,
    ) -> None:
        super().__init__(world, name)
        self._partitions = partitions
        self._workers = workers
        self.tenancies: dict[int, Tenancy] = {}
        self.born()

    def born(self) -> None:
        self.checks_lease = self.world.random.random() < 0.5
        self.tenancies = {
            partition: Tenancy(self, partition, self._workers) for partition in self._partitions
        }
        for tenancy in self.tenancies.values():
            self.then(tenancy.acquire)

    def died(self) -> None:
        self.tenancies = {}


class Tenancy:
    """One worker and one partition: from the try for the lease to its loss, again and again."""

    def __init__(self, worker: ModelWorker, partition: int, workers: Workers) -> None:
        self._worker = worker
        self._index = partition
        self._workers = workers
        self._world = worker.world
        self._store = PartitionStore(workers.database, partition, worker.name)  # type: ignore[arg-type]
        self._token = ""
        self._renewed_s = 0.0
        self._corrupt = False
        self._idle = False
        self._flushed = 0
        self.partition: Partition | None = None

    def _then(self, do: Callable[[], None], mean_s: float = 0.004, at_least_s: float = 0.0) -> None:
        """The next step, unless this tenure has ended by then; what a lost Redis raises ends it."""
        token = self._token

        def step() -> None:
            if token == self._token:
                self._guarded(do)

        self._worker.then(step, mean_s, at_least_s)

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except _ENDS as error:
            self._corrupt |= isinstance(error, Corrupt)
            self._end()

    def acquire(self) -> None:
        self._token = self._world.random.randbytes(8).hex()
        self._guarded(self._acquire)

    def _acquire(self) -> None:
        self._renewed_s = self._world.now_s
        acquired = at_once(self._store.acquire(self._token))
        if acquired is None:
            self._then(self.acquire, 0.2, 0.05)
        else:
            self._then(lambda: self._prepare(acquired))
            self._then(self._renew, 0.0, limits.LEASE_RENEW_S)

    def _renew(self) -> None:
        self._renewed_s = self._world.now_s
        if not at_once(self._store.renew(self._token)):
            raise Fenced
        if at_once(self._store.applied()) < self._flushed:
            raise Rewound
        self._then(self._renew, 0.05, limits.LEASE_RENEW_S)

    def _prepare(self, acquired: Acquired) -> None:
        """As aggregate.worker's _load."""
        beyond = acquired.applied > self._workers.stream.last
        if not acquired.applied or self._corrupt or acquired.stream != STREAM or beyond:
            self._anew()
        else:
            self._then(lambda: self._load(acquired.applied))

    def _load(self, applied: int) -> None:
        try:
            self.partition = self._workers.load(self._store, self._index, applied)
        except (DecodeError, ValueError, LookupError):
            self._anew()
        else:
            self._flushed = applied
            self._then(self._pull)

    def _anew(self) -> None:
        at_once(self._store.reset(self._token, STREAM, 0))
        self._corrupt = False
        self.partition = Partition(self._index, Loaded())
        self._flushed = 0
        self._then(self._pull)

    def _pull(self) -> None:
        """The next blocks, perhaps with some that were folded before."""
        partition = self.partition
        assert partition is not None
        random = self._world.random
        if self._worker.checks_lease and self._world.now_s - self._renewed_s >= limits.LEASE_S:
            raise Fenced
        blocks = self._workers.stream.of(self._index)
        ahead = blocks[bisect_right(blocks, partition.folded, key=attrgetter("sequence")) :]
        for block in ahead[: random.randint(1, 6)]:
            if self._world.odds(0.1):
                old = random.choice(blocks)
                if old.sequence < block.sequence:
                    assert partition.fold(old.sequence, old.data) == []
            letters = partition.fold(block.sequence, block.data)
            assert bool(letters) == block.is_foreign, f"set aside: {letters}"
        if self._world.odds(0.02):
            self._then(self._give_up)
        elif not ahead and partition.folded == self._flushed:
            self._idle = True
        elif random.random() < 0.7:
            self._then(self._flush)
        else:
            self._then(self._pull, 0.02)

    def wake(self) -> None:
        """There is a new block."""
        if self._idle:
            self._idle = False
            self._then(self._pull)

    def _flush(self) -> None:
        assert self.partition is not None
        flush = self.partition.take_flush()
        assert flush is not None, "something was folded since the last flush"
        self._store_flush(flush)
        self._then(lambda: self._publish(flush))

    def _store_flush(self, flush: Flush) -> None:
        at_once(self._store.flush(self._token, flush.before, flush.state, flush.writes))
        self._flushed = flush.after
        self._workers.flushes += 1
        self._renewed_s = self._world.now_s

    def _publish(self, flush: Flush) -> None:
        for partial in flush.partials:
            self._workers.on_partial(partial)
        self._then(self._pull, 0.01)

    def _give_up(self) -> None:
        """A graceful end: flush, release, and later try again."""
        assert self.partition is not None
        flush = self.partition.take_flush()
        if flush is not None:
            self._store_flush(flush)
            for partial in flush.partials:
                self._workers.on_partial(partial)
        self._end()

    def _end(self) -> None:
        if self.partition is not None:
            self._workers.takeovers += 1
        self.partition = None
        self._idle = False
        token, self._token = self._token, ""
        with contextlib.suppress(RedisError):
            at_once(self._store.release(token))
        self._then(self.acquire, 0.2, 0.05)


class Workers:
    """What all workers of a history share."""

    def __init__(
        self,
        world: World,
        stream: ModelStream,
        database: ModelDatabase,
        loop: asyncio.AbstractEventLoop,
        on_partial: Callable[[Partial], None],
        altered: Callable[[Loaded], Loaded] = lambda loaded: loaded,
    ) -> None:
        """`loop` only drives `loading.load`, which gathers its reads; nothing in it waits.
        `altered` may break what was loaded on purpose."""
        self.stream = stream
        self.database = database
        self.on_partial = on_partial
        self.all: list[ModelWorker] = []
        self.flushes = self.takeovers = 0
        self._world = world
        self._loop = loop
        self._altered = altered
        stream.on_stored = self._wake

    def _wake(self, partition: int) -> None:
        for worker in self.all:
            if tenancy := worker.tenancies.get(partition):
                tenancy.wake()

    def load(self, stored: PartitionStore, index: int, applied: int) -> Partition:
        loaded = self._loop.run_until_complete(load(stored, index, applied))
        return Partition(index, self._altered(loaded))

    def second_votes(self, partition: int, request: VotedRequest) -> VotedResponse | None:
        """The answer of one who takes itself for the owner; None when nobody answers."""
        for worker in self.all:
            tenancy = worker.tenancies.get(partition)
            if tenancy and tenancy.partition and not worker.is_stopped and not self._world.odds(0.2):
                return tenancy.partition.second_votes(request)
        return None
