"""How far aggregation is behind, as the partitions' owners tell it on core NATS (PartitionStatus).

`Backlog` is the pure part, `BacklogWatch` the shell that feeds it. What is older than PARTITION_STATUS_LIFE_S
is forgotten: an owner that went silent says nothing about its lag, and a partition that is being
taken over must not slow its clients down. Then a new owner's first status tells the truth.

It hears there, too, which origins are to be replaced (aggregate.origin_retention). That is never forgotten.

Bound: one entry for each partition. A status that comes while NATS is away is lost: the next one,
PARTITION_STATUS_S later, replaces it anyway.

Rejected: reading the consumers' pending counts from JetStream. It costs a request for each
partition, and counts blocks, while an owner knows their age.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus


class Backlog:
    """The newest lag of each partition. Pure: `now_s` comes in, seconds of any clock."""

    def __init__(self, partitions: int = wire_bounds.PARTITIONS) -> None:
        self._lag_s = [0.0] * partitions
        self._heard_at_s = [float("-inf")] * partitions

    def hear(self, partition: int, lag_s: float, now_s: float) -> None:
        """Takes a partition's lag; one that does not exist is ignored."""
        if 0 <= partition < len(self._lag_s):
            self._lag_s[partition] = max(0.0, lag_s)
            self._heard_at_s[partition] = now_s

    def worst_lag_s(self, now_s: float, partitions: Collection[int] | None = None) -> float:
        """The age of the oldest block that is not folded yet, of these partitions, None for all; 0.0
        when they are folded to the end, and of those that were not heard of lately."""
        return max(
            (
                self._lag_s[partition]
                for partition in (range(len(self._lag_s)) if partitions is None else partitions)
                if now_s - self._heard_at_s[partition] <= limits.PARTITION_STATUS_LIFE_S
            ),
            default=0.0,
        )


class BacklogWatch:
    """Keeps a Backlog by what the owners tell. Times are the loop's."""

    def __init__(self, bus: Bus, partitions: int = wire_bounds.PARTITIONS) -> None:
        self.origins_from_s = 0
        """Origins issued before this second are to be replaced: the greatest that any owner named."""
        self._bus = bus
        self._backlog = Backlog(partitions)

    async def start(self) -> None:
        """Subscribes; the subscription comes back with NATS, and ends with the bus."""
        await self._bus.client.subscribe(subjects.PARTITION_STATUS_ALL, cb=self._on_status)

    def worst_lag_s(self, now_s: float, partitions: Collection[int] | None = None) -> float:
        """As Backlog.worst_lag_s; `now_s` is the loop's time."""
        return self._backlog.worst_lag_s(now_s, partitions)

    async def _on_status(self, message: Msg) -> None:
        with contextlib.suppress(DecodeError):
            status = PartitionStatus.FromString(message.data)
            self.origins_from_s = max(self.origins_from_s, status.origins_from_s)
            self._backlog.hear(status.partition, status.lag_ms / 1000, asyncio.get_running_loop().time())
