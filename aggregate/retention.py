"""Keeps room in the event stream without forgetting anything (I4): checkpoints, and then purges.

The stream refuses new blocks when it is full, so that none is lost that is not folded. Before it
is, each owner stores a checkpoint of its partitions in JetStream, and purges what the checkpoint
holds. A Redis that is emptied later gets the newest checkpoint back, and the blocks after it
are folded: the same state as from the first block.

    stream more than RETENTION_FULL ──▶ the owner's fold pauses ──▶ Checkpoint ──▶ object store
                           acked ──▶ marker (see aggregate.eventlog) ──▶ purge below its sequence

A checkpoint has its sequence in its name and never replaces another: an owner that stalled
before it stored an old one takes nothing away from a newer one, which is the one that counts.
The one that the purged blocks are in stays until the next purge: should the stream lose its tail
beneath the newest one, it and the blocks after it are all there is.

Bound: one checkpoint at a time in a process, as large as its partition's state; two of a partition in store.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import (
    BadRequestError,
    BucketNotFoundError,
    NotFoundError,
    ObjectDeletedError,
    ObjectNotFoundError,
)
from nats.js.object_store import ObjectStore

from aggregate import bounds
from aggregate.binding import Fit, fit
from aggregate.eventlog import EventLog
from grandstand.internal.v1.internal_pb2 import Checkpoint
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import RedisError

log = logging.getLogger(__name__)

_STREAM = f"OBJ_{subjects.CHECKPOINTS_BUCKET}"
_NAMES = f"$O.{subjects.CHECKPOINTS_BUCKET}.M."


class CheckpointUnreadable(Exception):
    """The history it stands for is purged: going on without it would count wrongly."""


class Checkpoints:
    """The checkpoints of all partitions. All methods raise NatsError, TimeoutError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._bucket: ObjectStore | None = None

    async def newest(self, partition: int, stream: str) -> int:
        """The sequence of the partition's newest checkpoint; 0 without one.

        One request: every object's name is a subject of the bucket's stream. Those of deleted objects
        are among them, and never the newest.
        """
        try:
            info = await self._bus.js.stream_info(_STREAM, subjects_filter=f"{_NAMES}>")
        except NotFoundError:
            return 0
        prefix = subjects.checkpoints(partition, stream)
        names = (base64.urlsafe_b64decode(s.removeprefix(_NAMES)).decode() for s in info.state.subjects or {})
        return max((int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)), default=0)

    async def get(self, partition: int, stream: str, applied: int) -> Checkpoint:
        """Raises CheckpointUnreadable."""
        name = subjects.checkpoint(partition, stream, applied)
        into = io.BytesIO()
        try:
            await (await self._open()).get(name, writeinto=into)
            found = Checkpoint.FromString(zlib.decompress(into.getvalue()))
        except (zlib.error, DecodeError, ObjectNotFoundError, ObjectDeletedError) as error:
            raise CheckpointUnreadable(f"checkpoint {name}: {type(error).__name__} {error}") from None
        if not found.state.applied:
            raise CheckpointUnreadable(
                f"checkpoint {name} is of an older release, which this one cannot read"
            )
        return found

    async def put(self, checkpoint: Checkpoint, floor: int) -> None:
        """Stores it, and forgets the older ones of its partition but the one at `floor`, up to which blocks
        are purged."""
        bucket = await self._open()
        name = subjects.checkpoint(checkpoint.partition, checkpoint.stream, checkpoint.applied)
        data = await asyncio.to_thread(zlib.compress, checkpoint.SerializeToString(), 1)
        await bucket.put(name, io.BytesIO(data))
        prefix = subjects.checkpoints(checkpoint.partition, checkpoint.stream)
        kept = subjects.checkpoint(checkpoint.partition, checkpoint.stream, floor)
        for entry in await bucket.list():
            if (
                entry.name.startswith(prefix)
                and entry.name < name
                and not entry.deleted
                and entry.name != kept
            ):
                await bucket.delete(entry.name)

    async def _open(self) -> ObjectStore:
        if self._bucket is None:
            try:
                self._bucket = await self._bus.js.object_store(subjects.CHECKPOINTS_BUCKET)
            except BucketNotFoundError:
                config = js_api.ObjectStoreConfig(
                    storage=js_api.StorageType.FILE, replicas=self._bus.replicas
                )
                with contextlib.suppress(BadRequestError):  # another worker was faster
                    await self._bus.js.create_object_store(subjects.CHECKPOINTS_BUCKET, config)
                self._bucket = await self._bus.js.object_store(subjects.CHECKPOINTS_BUCKET)
        return self._bucket


class CheckpointSource(Protocol):
    """The worker of a partition, which can take a checkpoint of it."""

    index: int

    async def checkpoint(self) -> Checkpoint | None:
        """The partition's current state; None if this process does not own it (any more)."""
        ...


class Retention:
    def __init__(
        self, bus: Bus, checkpoints: Checkpoints, owners: Callable[[], Iterable[CheckpointSource]]
    ) -> None:
        self._bus = bus
        self._checkpoints = checkpoints
        self._owners = owners
        self._log = EventLog(bus)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(bounds.RETENTION_LOOK_S)
            try:
                if await self._full() > limits.RETENTION_FULL:
                    for owner in list(self._owners()):
                        await self._make_room(owner)
            except (NatsError, RedisError, TimeoutError, OSError) as error:
                log.warning("no room is made in the event stream: %s: %s", type(error).__name__, error)

    async def _full(self) -> float:
        """The share of the stream's room that is taken; 0 where it has no bound."""
        info = await self._bus.js.stream_info(subjects.EVENTS_STREAM)
        bytes_max = info.config.max_bytes or 0
        return info.state.bytes / bytes_max if bytes_max > 0 else 0.0

    async def _make_room(self, owner: CheckpointSource) -> None:
        found = await owner.checkpoint()
        if found is None:
            return
        purged = await self._log.purged(owner.index)
        floor = purged.floor(found.stream)
        if not await self._log.can_purge(owner.index, found.applied, floor):
            return
        stream, last = await self._log.stream()
        there = await self._log.block(found.state.bound.sequence)
        if stream != found.stream or fit(found.state, there, last) is not Fit.SAME:
            log.warning("partition %d: a checkpoint of another stream purges nothing", owner.index)
            return
        await self._checkpoints.put(found, floor)
        if not await self._log.purge(owner.index, found.state.bound, stream, purged):
            log.warning("partition %d: the stream has lost its tail; nothing is purged", owner.index)
            return
        log.info(
            "partition %d: a checkpoint at %d, and the blocks below are purged", owner.index, found.applied
        )
