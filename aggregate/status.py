"""How far the folding of each partition is: said by its owner on core NATS, heard by every instance.

What was heard less than PARTITION_STATUS_LIFE_S ago stands; then a partition's last figures are told
without an owner, and with the problem of who tries to own it. Bound: one entry for each partition.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from aggregate import bounds
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus


class PartitionBoard:
    """The newest status of each partition. Pure: `now` comes in, seconds of any clock."""

    def __init__(self, partitions: int = wire_bounds.PARTITIONS) -> None:
        self._newest = [PartitionStatus(partition=p) for p in range(partitions)]
        self._heard_at = [float("-inf")] * partitions
        self._problem_at = [float("-inf")] * partitions

    def hear(self, status: PartitionStatus, now: float) -> None:
        """Takes a status, unless a newer one of the same owner is known."""
        p = status.partition
        if p >= len(self._newest):
            return
        known = self._newest[p]
        if not status.owner:  # who cannot take it over says why; it knows no figures
            if not known.owner or now - self._heard_at[p] > limits.PARTITION_STATUS_LIFE_S:
                known.problem, self._problem_at[p] = status.problem, now
            return
        if known.owner == status.owner and known.as_of.ToNanoseconds() > status.as_of.ToNanoseconds():
            return
        self._newest[p] = status
        self._heard_at[p] = now

    def statuses(self, now: float) -> list[PartitionStatus]:
        """In the order of the partitions."""
        found = []
        for status, heard_at in zip(self._newest, self._heard_at, strict=True):
            told = PartitionStatus()
            told.CopyFrom(status)
            if now - heard_at > limits.PARTITION_STATUS_LIFE_S:
                told.owner = ""
                if now - self._problem_at[status.partition] > limits.PARTITION_STATUS_LIFE_S:
                    told.problem = ""
            found.append(told)
        return found


class StatusExchange:
    """Says the statuses of our own partitions, and hears everybody's."""

    def __init__(self, bus: Bus, own: Callable[[], Iterable[PartitionStatus]]) -> None:
        self._bus = bus
        self._own = own
        self._board = PartitionBoard()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        self._subscription = await self._bus.client.subscribe(
            subjects.PARTITION_STATUS_ALL, cb=self._on_status
        )

    async def run(self) -> None:
        """Until cancelled. A partition that is newly owned is told of within PARTITION_NEWS_S."""
        loop = asyncio.get_running_loop()
        told: set[int] = set()
        told_at = float("-inf")
        while True:
            statuses = list(self._own())
            owned = {status.partition for status in statuses if status.owner}
            if owned - told or loop.time() - told_at >= bounds.PARTITION_STATUS_S:
                told_at = loop.time()
                with contextlib.suppress(NatsError):
                    for status in statuses:
                        await self._bus.client.publish(
                            subjects.partition_status(status.partition), status.SerializeToString()
                        )
            told = owned
            await asyncio.sleep(bounds.PARTITION_NEWS_S)

    def statuses(self) -> list[PartitionStatus]:
        """In the order of the partitions."""
        return self._board.statuses(asyncio.get_running_loop().time())

    async def _on_status(self, message: Msg) -> None:
        with contextlib.suppress(DecodeError):
            status = PartitionStatus.FromString(message.data)
            self._board.hear(status, asyncio.get_running_loop().time())
