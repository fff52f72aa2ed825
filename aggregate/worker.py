"""Keeps one partition owned and folded by this process, for as long as the partition is assigned to it.

The worker acquires the partition's lease as soon as it is free, loads the state from Redis, and runs a
`LeaseSession`. Whatever ends the session (Redis or NATS unavailable, the lease lost, Redis emptied or put
back to an older moment, a gap in the stream) is handled in one way: release the lease, and acquire it again
after a growing pause.

JetStream is the truth (I4). The state in Redis is erased and rebuilt, from the newest checkpoint or else from
the first block, if a part of it is lost or older than the rest, if it was folded from another stream than
the present one (also from one that lost its tail and grew again), or if blocks after it are purged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from aggregate import bounds
from aggregate.binding import Choice, Fit, choose, fit, fits
from aggregate.checkpoint import restore
from aggregate.deadletters import DeadLetters
from aggregate.eventlog import EventLog, Purged
from aggregate.fold_counts import FoldCounts
from aggregate.lease import Lease
from aggregate.lease_session import LeaseSession, SessionStart
from aggregate.loading import load
from aggregate.pace import FlushPace
from aggregate.partition import Loaded, Partition
from aggregate.partition_health import PartitionHealth
from aggregate.partition_store import Acquired, PartitionStore
from aggregate.partition_store import StoredState as Standing
from aggregate.retention import Checkpoints, CheckpointUnreadable
from aggregate.turns import Turns
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import BlockIdentity, Checkpoint, PartitionState
from grandstand.wire.tasks import end
from mesh import wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import PullBroken
from mesh.redis.database import RedisError
from mesh.redis.errors import Corrupt, Fenced, Rewound

log = logging.getLogger(__name__)

_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0
_STABLE_S = 10.0
_RELEASE_S = 1.0


class Found(NamedTuple):
    """The event stream, and what Redis holds, when a partition is taken over."""

    stream: str
    """Its identity."""
    last: int
    """Its last sequence; `head` is the partition's."""
    head: int
    purged: Purged
    standing: Standing
    """What Redis holds."""

    @property
    def floor(self) -> int:
        """Blocks of the partition below this are purged."""
        return self.purged.floor(self.stream)


class PartitionWorker:
    def __init__(
        self,
        bus: Bus,
        stored: PartitionStore,
        letters: DeadLetters,
        checkpoints: Checkpoints,
        index: int,
        turns: Turns | None = None,
        now: Callable[[], float] = wall_clock.now_s,
        pace: FlushPace | None = None,
        counts: FoldCounts | None = None,
    ) -> None:
        """`turns` and `pace`: shared by the workers of a process, which decode their states in turn and flush
        together; `counts`: too. `now`: Unix seconds by the mesh's clock."""
        self._now = now
        self.index = index
        self.settled = asyncio.Event()
        """Set once the partition is owned, or found to be held by another worker."""
        self._bus = bus
        self._stored = stored
        self._letters = letters
        self._checkpoints = checkpoints
        self._log = EventLog(bus)
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._session: LeaseSession | None = None
        self._turns = turns or Turns()
        self._pace = pace or FlushPace()
        self._counts = counts or FoldCounts()
        self._health = PartitionHealth()
        self._fails = False
        """It cannot take the partition over, or could not keep it."""
        self._corrupt = False

    @property
    def owns(self) -> bool:
        return self._session is not None

    def status(self, instance: str) -> PartitionStatus | None:
        """None while it does not own the partition; if it cannot own it, the problem alone."""
        found = None if self._session is None else self._session.status(instance)
        if found is None and self._fails:
            problem = self._health.problem(asyncio.get_running_loop().time())
            if problem:
                found = PartitionStatus(partition=self.index, problem=problem)
                found.as_of.FromNanoseconds(int(self._now() * 1e9))
        return found

    async def checkpoint(self) -> Checkpoint | None:
        """The partition's current state; None while it is not owned."""
        return None if self._session is None else await self._session.checkpoint()

    def stop(self) -> None:
        """Makes `run` flush, release the lease and return."""
        self._stopping.set()
        self._free.set()

    def try_now(self) -> None:
        """The lease may be free."""
        self._free.set()

    async def run(self) -> None:
        """Until `stop`."""
        retry_s = _RETRY_FIRST_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_at = loop.time()
            self._health.begin(began_at)
            try:
                await self._own()
            except Corrupt as error:
                self._corrupt = self._fails = True
                log.error("partition %d: %s; its state is rebuilt", self.index, error)
            except CheckpointUnreadable as error:
                self._fails = True
                self._health.unusable = f"{error}; put the bucket {subjects.CHECKPOINTS_BUCKET!r} back"
                log.error(
                    "partition %d cannot be folded, and is shown to nobody: %s; put the bucket %r back",
                    *(self.index, error, subjects.CHECKPOINTS_BUCKET),
                )
            except (Fenced, Rewound, PullBroken, RedisError, NatsError, TimeoutError, OSError) as error:
                self._fails = True
                if not isinstance(error, Fenced | Rewound):
                    of = self._health.redis if isinstance(error, RedisError) else self._health.events
                    of.failed(str(error), loop.time())
                log.warning("partition %d: %s: %s", self.index, type(error).__name__, error)
            except Exception:
                log.exception("partition %d: a bug; taking it over again", self.index)
            if loop.time() - began_at > _STABLE_S:
                retry_s = _RETRY_FIRST_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await self._stopping.wait()
            retry_s = min(2 * retry_s, _RETRY_MAX_S)

    async def _own(self) -> None:
        token = uuid.uuid4().hex
        tasks: list[asyncio.Task[None]] = []
        try:
            acquired, asked_at = await self._acquire(token)
            if acquired is None:
                return
            lease = Lease(self._stored, token, asked_at)
            self._health.redis.proved(asked_at)
            self._counts.leases["acquired"] += 1
            tasks.append(asyncio.create_task(lease.keep()))
            tasks.append(asyncio.create_task(self._serve(lease, acquired, asked_at)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._session = None
            await end(*tasks)
            with contextlib.suppress(RedisError, TimeoutError):
                async with asyncio.timeout(_RELEASE_S):
                    await self._stored.release(token)
        # Each is asked for its exception: asyncio logs those of which nobody heard.
        errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
        if tasks:
            self._counts.leases["lost" if errors else "released"] += 1
        if errors:
            raise errors[0]

    async def _serve(self, lease: Lease, acquired: Acquired, asked_at: float) -> None:
        # Concurrently: the partition makes no progress until it is loaded.
        (stream, last), head, purged, standing = await asyncio.gather(
            *(self._log.stream(), self._log.last(self.index), self._log.purged(self.index)),
            self._stored.standing(),
        )
        self._health.events.proved(asyncio.get_running_loop().time())
        found = Found(stream, last, head, purged, standing)
        partition, bound, target = await self._load(lease.token, acquired, found)
        self._health.unusable = ""
        self._session = LeaseSession(
            *(self._bus, self._stored, self._letters, self._log, partition, lease, self._health),
            start=SessionStart(stream, head, target, bound),
            pace=self._pace,
            now=self._now,
            counts=self._counts,
        )
        self._counts.takeover_s.observe(asyncio.get_running_loop().time() - asked_at)
        self.settled.set()
        await self._session.serve(self._stopping)

    async def _acquire(self, token: str) -> tuple[Acquired | None, float]:
        """Waits while another worker holds the lease; None if stopped meanwhile. With it, the loop's time
        when the lease was requested."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._free.clear()
            asked_at = loop.time()
            acquired = await self._stored.acquire(token)
            if acquired is not None:
                return acquired, asked_at
            self.settled.set()
            self._fails = False  # another's
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(bounds.LEASE_POLL_S):
                    await self._free.wait()
        return None, 0.0

    async def _load(
        self, token: str, acquired: Acquired, found: Found
    ) -> tuple[Partition, BlockIdentity, int]:
        """The state to continue from: the one in Redis if it is usable, else the newest checkpoint's, else an
        empty one; the block that it is bound to; and the target, the sequence before which it must not be
        shown to readers."""
        corrupt, self._corrupt = self._corrupt, False
        if not acquired.applied and found.standing.manifest:
            log.error("partition %d: nothing says how far its state is; it is rebuilt", self.index)
        elif not found.standing.manifest and not found.standing.applied and found.head:
            log.warning(
                "partition %d: Redis holds nothing of it (emptied, or new); its blocks up to %d are folded",
                *(self.index, found.head),
            )
            return *await self._decoded(await self._rebuild(token, found)), found.head
        if acquired.applied and not corrupt and await self._is_well(acquired, found):
            try:
                loaded = await load(self._stored, self.index, acquired.applied, found.standing)
                return *await self._decoded(loaded), acquired.target
            except (Corrupt, DecodeError, ValueError, LookupError) as error:
                log.error("partition %d: %s; its state is rebuilt", self.index, error)
        return *await self._decoded(await self._rebuild(token, found)), found.head

    async def _is_well(self, acquired: Acquired, found: Found) -> bool:
        """Whether the fold may continue from the state in Redis, judging by its manifest."""
        if acquired.stream != found.stream:
            log.warning(
                "partition %d: the state at %d is of stream %r, the stream is %r; it is rebuilt",
                *(self.index, acquired.applied, acquired.stream, found.stream),
            )
            return False
        try:
            state = found.standing.listed().state
        except Corrupt as error:
            log.error("partition %d: %s; its state is rebuilt", self.index, error)
            return False
        if acquired.applied < found.floor:
            log.warning(
                "partition %d: the state at %d is behind what is purged, up to %d; it is restored again",
                *(self.index, acquired.applied, found.floor),
            )
            return False
        if acquired.applied < acquired.target > found.head:
            log.error(
                "partition %d: its state was to be folded up to %d before it is shown, and the stream has"
                " lost its tail since: the partition's ends at %d; it is rebuilt",
                *(self.index, acquired.target, found.head),
            )
            return False
        is_well = await self._fits(state, found, "the state")
        choice = choose(
            applied=acquired.applied, is_well=is_well, floor=found.floor, newest=0, newest_is_well=False
        )
        return choice is Choice.STATE

    async def _fits(self, state: PartitionState, found: Found, what: str) -> bool:
        there = await self._log.block(state.bound.sequence)
        first = await self._log.first(self.index) if there is None else 0
        how = fit(state, there, found.last, first)
        if how is Fit.GONE:
            log.error(
                "partition %d: block %d, which %s was folded up to, is gone from the stream, and nothing says"
                " that it was purged; taken for purged by hand",
                *(self.index, state.applied, what),
            )
        elif how is not Fit.SAME:
            log.error(
                "partition %d: %s at %d is of a stream that has lost its tail since: %s; it is not used",
                *(self.index, what, state.applied),
                f"it ends at {found.last}" if how is Fit.BEYOND else "another block is there",
            )
        return fits(how)

    async def _checkpoint(self, newest: int, found: Found) -> Checkpoint | None:
        """The newest checkpoint if it was taken of the present stream, else None. Raises
        CheckpointUnreadable."""
        read = await self._checkpoints.get(self.index, found.stream, newest)
        return read if await self._fits(read.state, found, "the checkpoint") else None

    async def _rebuild(self, token: str, found: Found) -> Loaded:
        """Erases the state in Redis; returns that of the newest checkpoint that fits, else an empty one."""
        await self._stored.reset(token, found.stream, found.head)
        floor = found.floor
        newest = await self._checkpoints.newest(self.index, found.stream)
        read = await self._checkpoint(newest, found) if newest else None
        if read is None and 0 < floor < newest:
            newest, read = floor, await self._checkpoint(floor, found)
        before = found.purged.before
        if read is None and before is not None and newest == floor > before:
            # Its block was lost while the marker was stored: nothing was purged (see aggregate.eventlog).
            newest = floor = before
            read = await self._checkpoint(newest, found) if newest else None
            await self._log.take_back(self.index, found.stream, found.purged)
        choice = choose(applied=0, is_well=False, floor=floor, newest=newest, newest_is_well=read is not None)
        if choice is Choice.UNREADABLE:
            raise CheckpointUnreadable(
                f"its blocks below {floor} are purged, and the newest checkpoint is at {newest}"
            )
        if read is None or choice is not Choice.CHECKPOINT:
            return Loaded()
        await restore(self._stored, token, read)
        log.info("partition %d: put back as of %d", self.index, newest)
        return await load(self._stored, self.index, newest)

    async def _decoded(self, loaded: Loaded) -> tuple[Partition, BlockIdentity]:
        """Raises DecodeError, ValueError, LookupError."""
        salt = int.from_bytes(os.urandom(8))
        return await self._turns.take(lambda: Partition(self.index, loaded, salt)), loaded.state.bound
