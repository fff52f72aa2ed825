"""Sees to it that one partition is folded by this process, for as long as it is wanted here.

Takes the partition's lease as soon as nobody else holds it, loads what Redis has, and starts
a `Tenure`. Whatever ends that (Redis or NATS away, the lease lost, Redis emptied or gone back
in time, a gap in the stream) has one answer: give the lease up, and acquire it again, after a
pause that grows.

JetStream is the truth (I4): state that was folded from another stream than the one there is
now, that is ahead of it, that does not decode, or that blocks are purged behind (see
aggregate.retention), is erased and folded anew: from the newest checkpoint, or the first block.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from aggregate.checkpoint import restore
from aggregate.deadletters import DeadLetters
from aggregate.lease import Lease
from aggregate.loading import load
from aggregate.partition import Loaded, Partition
from aggregate.retention import Checkpoints, CheckpointUnreadable
from aggregate.tenure import Tenure
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import Checkpoint
from mesh import limits, subjects
from mesh.bus import Bus
from mesh.pull import PullBroken
from mesh.store import Acquired, Corrupt, Fenced, PartitionStore, RedisError, Rewound
from mesh.tasks import end

log = logging.getLogger(__name__)

_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0
_STABLE_S = 10.0
_RELEASE_S = 1.0


class PartitionWorker:
    def __init__(
        self, bus: Bus, stored: PartitionStore, letters: DeadLetters, checkpoints: Checkpoints, index: int
    ) -> None:
        self.index = index
        self.settled = asyncio.Event()
        """Set once the partition is owned, or found to be another's."""
        self._bus = bus
        self._stored = stored
        self._letters = letters
        self._checkpoints = checkpoints
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._tenure: Tenure | None = None
        self._corrupt = False

    @property
    def owns(self) -> bool:
        return self._tenure is not None

    def status(self, instance: str) -> PartitionStatus | None:
        """None while it does not own the partition."""
        return None if self._tenure is None else self._tenure.status(instance)

    async def checkpoint(self) -> Checkpoint | None:
        """The partition's state as of now; None while it is not owned."""
        return None if self._tenure is None else await self._tenure.checkpoint()

    def stop(self) -> None:
        """Flush, give the lease up, and let `run` return."""
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
            try:
                await self._own()
            except Corrupt as error:
                self._corrupt = True
                log.error("partition %d: %s; its state is folded anew", self.index, error)
            except CheckpointUnreadable as error:
                log.error(
                    "partition %d cannot be folded: %s, and what it stands for is purged from the stream;"
                    " put the bucket %r back",
                    *(self.index, error, subjects.CHECKPOINTS_BUCKET),
                )
            except (Fenced, Rewound, PullBroken, RedisError, NatsError, TimeoutError, OSError) as error:
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
            tasks.append(asyncio.create_task(lease.keep()))
            tasks.append(asyncio.create_task(self._serve(lease, acquired)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tenure = None
            await end(*tasks)
            with contextlib.suppress(RedisError, TimeoutError):
                async with asyncio.timeout(_RELEASE_S):
                    await self._stored.release(token)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _serve(self, lease: Lease, acquired: Acquired) -> None:
        stream, last = await self._bus.events_stream()
        partition = await self._load(lease.token, acquired, stream, last)
        self._tenure = Tenure(self._bus, self._stored, self._letters, partition, lease, stream)
        self.settled.set()
        await self._tenure.serve(self._stopping)

    async def _acquire(self, token: str) -> tuple[Acquired | None, float]:
        """Waits while somebody else holds the lease; None when stopped meanwhile."""
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            self._free.clear()
            asked_at = loop.time()
            acquired = await self._stored.acquire(token)
            if acquired is not None:
                return acquired, asked_at
            self.settled.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.LEASE_POLL_S):
                    await self._free.wait()
        return None, 0.0

    async def _load(self, token: str, acquired: Acquired, stream: str, last: int) -> Partition:
        """The state in Redis if it can be gone on from; else the newest checkpoint's, or none."""
        checkpoint = await self._checkpoints.newest(self.index, stream)
        empty = not acquired.stream and not acquired.applied
        foreign = not empty and (acquired.stream != stream or acquired.applied > last)
        if foreign or self._corrupt or acquired.applied < checkpoint:
            if not empty:
                log.warning(
                    "partition %d: the state at %d, of stream %r, cannot be gone on from: the stream is %r,"
                    " up to %d, and purged up to %d",
                    *(self.index, acquired.applied, acquired.stream, stream, last, checkpoint),
                )
            return await self._anew(token, stream, checkpoint)
        if empty:
            await self._stored.mark(token, stream)
        try:
            partition = self._partition(await load(self._stored, self.index, acquired.applied))
        except (Corrupt, DecodeError, ValueError, LookupError) as error:
            log.error("partition %d: the state does not decode (%s); it is folded anew", self.index, error)
            return await self._anew(token, stream, checkpoint)
        if await self._stored.applied() != acquired.applied:
            # What was read is of two moments: whatever is judged by it, such as a dead letter, is wrong.
            raise Rewound("Redis was emptied or went back while its state was read")
        return partition

    async def _anew(self, token: str, stream: str, checkpoint: int) -> Partition:
        """Erases what there is, and begins with the checkpoint at that sequence; 0: with nothing."""
        await self._stored.reset(token, stream)
        self._corrupt = False
        if not checkpoint:
            return self._partition(Loaded())
        found = await self._checkpoints.get(self.index, stream, checkpoint)
        await restore(self._stored, token, found)
        log.info("partition %d: put back as of %d", self.index, checkpoint)
        return self._partition(await load(self._stored, self.index, checkpoint))

    def _partition(self, loaded: Loaded) -> Partition:
        return Partition(self.index, loaded, salt=int.from_bytes(os.urandom(8)))
