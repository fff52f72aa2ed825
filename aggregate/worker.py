"""Owns one partition: pull blocks, fold them, flush in one atomic step, publish the partials.

A flush leaves on the leading edge when the partition was idle, then at most every
FLUSH_INTERVAL_S. Whatever goes wrong (Redis or NATS away, a lost lease, Redis emptied or
gone back in time, a gap in the stream) has one answer: take the partition over again from
what Redis holds, and fold from the sequence after it. Results are published only after
their flush, so no viewer ever sees what could be lost (I5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from aggregate.loading import load
from aggregate.partition import BadBlock, Flush, Partition
from grandstand.internal.v1.internal_pb2 import Block
from mesh import limits, subjects, telemetry
from mesh.bus import Bus
from mesh.pull import Pull, PullBroken, Pulled
from mesh.store import Fenced, PartitionStore, RedisError, Rewound

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0


class PartitionWorker:
    def __init__(self, bus: Bus, stored: PartitionStore, index: int) -> None:
        self._bus = bus
        self._stored = stored
        self._index = index
        self._flushed_at = 0.0
        self.owned = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        retry_s = _RETRY_FIRST_S
        while True:
            took_over_at = asyncio.get_running_loop().time()
            try:
                await self._own()
            except (Fenced, Rewound, PullBroken) as error:
                log.warning(
                    "partition %d: %s %s; taking it over again", self._index, type(error).__name__, error
                )
            except (RedisError, NatsError, TimeoutError, OSError) as error:
                log.warning("partition %d: %s: %s", self._index, type(error).__name__, error)
            if asyncio.get_running_loop().time() - took_over_at > 10:
                retry_s = _RETRY_FIRST_S
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_MAX_S)

    async def _own(self) -> None:
        token = uuid.uuid4().hex
        applied = await self._stored.take_over(token)
        partition = Partition(self._index, await load(self._stored, self._index, applied))
        pull = Pull(self._bus, self._index)
        try:
            await pull.open(applied + 1)
            self.owned.set()
            while True:
                await self._step(partition, pull, token)
        finally:
            await pull.close()

    async def _step(self, partition: Partition, pull: Pull, token: str) -> None:
        """Folds what has come, until a flush is due, and flushes."""
        pulled = await pull.next(_PATIENCE_S)
        if not pulled:
            return
        loop = asyncio.get_running_loop()
        causes: list[str] = []
        blocks = 0
        while True:
            for message in pulled:
                self._fold(partition, message)
            blocks += len(pulled)
            causes += [telemetry.cause_in(message.headers) for message in pulled]
            wait_s = self._flushed_at + limits.FLUSH_INTERVAL_S - loop.time()
            if wait_s <= 0:
                break
            pulled = await pull.next(wait_s)
        flush = partition.take_flush()
        if flush is None:
            return
        with telemetry.batch_span(
            f"process {subjects.events(self._index)}",
            SpanKind.CONSUMER,
            causes,
            {"messaging.system": "nats", "messaging.batch.message_count": blocks},
        ):
            await self._stored.flush(token, flush.before, flush.after, flush.writes)
            self._flushed_at = loop.time()
            await self._publish(flush)

    def _fold(self, partition: Partition, message: Pulled) -> None:
        try:
            partition.fold(message.sequence, Block.FromString(message.data))
        except (BadBlock, DecodeError) as error:
            log.error("partition %d: block %d is left out: %s", self._index, message.sequence, error)
            partition.skip(message.sequence)

    async def _publish(self, flush: Flush) -> None:
        """Best effort: who misses a partial gets it from Redis."""
        with contextlib.suppress(NatsError):
            for partial in flush.partials:
                await self._bus.client.publish(
                    subjects.results(partial.game_id, partial.topic, partial.partition),
                    partial.SerializeToString(),
                    headers=telemetry.headers() or None,
                )
