"""One ownership of a partition, from the lease to its loss: pull blocks, fold them, flush, publish.

A flush leaves on the leading edge when the partition was idle, then at most every
FLUSH_INTERVAL_S, and under a backlog after FLUSH_EVENTS_MAX events. Results are published only
after their flush, so no viewer ever sees what could be lost (I5). Between blocks the event
loop gets its turn, so that a backlog holds up neither the lease nor anybody's question.

What ends a tenure is an exception, or `stopping`: then what is folded is flushed. Whatever it was,
the worker gives the lease up, and takes the partition over again from what Redis holds.
A tenure that could not renew its lease for LEASE_S ends by itself, without asking: a process
that was stopped meanwhile must not pull from a consumer that is another's by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from aggregate.checkpoint import take
from aggregate.deadletters import DeadLetters
from aggregate.lease import Lease
from aggregate.partition import Flush, Partition
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import Checkpoint, VotedRequest
from mesh import limits, subjects, telemetry
from mesh.bus import Bus
from mesh.pull import Pull, Pulled
from mesh.store import Fenced, PartitionStore

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_TURN_S = 0.005


class Tenure:
    def __init__(
        self,
        bus: Bus,
        stored: PartitionStore,
        letters: DeadLetters,
        partition: Partition,
        lease: Lease,
        stream: str,
    ) -> None:
        """`stream` is the identity of the event stream."""
        self._bus = bus
        self._stored = stored
        self._letters = letters
        self._partition = partition
        self._lease = lease
        self._stream = stream
        self._wanted: asyncio.Future[Checkpoint | None] | None = None
        self._pull = Pull(bus, partition.index)
        self._subscription: Subscription | None = None
        self._applied = lease.applied = partition.folded
        self._flushed_at = 0.0
        self._yielded_at = 0.0
        self._causes: list[str] = []
        self._blocks = 0
        self._in_hand = 0
        self._oldest_at_s: float | None = None
        self._last_at_s: float | None = None
        self._dead_letters = 0

    async def serve(self, stopping: asyncio.Event) -> None:
        """Until `stopping`. Raises Fenced, Rewound, Corrupt, PullBroken, RedisError, NatsError,
        TimeoutError."""
        interrupt = asyncio.create_task(self._interrupt(stopping))
        try:
            await self._pull.open(self._applied + 1)
            self._subscription = await self._bus.client.subscribe(
                subjects.votes(self._partition.index), cb=self._on_votes
            )
            await self._fold_on(stopping)
        finally:
            interrupt.cancel()
            if self._wanted is not None and not self._wanted.done():
                self._wanted.set_result(None)
            await self._close()

    def status(self, instance: str) -> PartitionStatus | None:
        """How far it is; None if the lease may be lost by now, and before it has begun."""
        if self._lease.lapsed or self._subscription is None:
            return None
        blocks = self._in_hand + self._pull.queued + self._pull.pending
        oldest_at_s = self._oldest_at_s or self._pull.oldest_queued_at_s or self._last_at_s
        now_s = time.time()
        found = PartitionStatus(
            partition=self._partition.index,
            owner=instance,
            applied=self._applied,
            lag_blocks=blocks,
            lag_ms=max(0, int((now_s - oldest_at_s) * 1000)) if blocks and oldest_at_s else 0,
            dead_letters=self._dead_letters,
            uncounted=self._partition.uncounted,
        )
        found.as_of.FromNanoseconds(int(now_s * 1e9))
        return found

    async def checkpoint(self) -> Checkpoint | None:
        """The state as of now, read while the fold pauses; None if the tenure ends before."""
        if self._wanted is None:
            self._wanted = asyncio.get_running_loop().create_future()
            self._pull.interrupt()
        return await asyncio.shield(self._wanted)

    async def _take_checkpoint(self, wanted: asyncio.Future[Checkpoint | None]) -> None:
        await self._flush()
        found = await take(self._stored, self._partition.index, self._applied, self._stream)
        # Still ours, so it was all the time, and what was read is of one moment.
        if not await self._stored.renew(self._lease.token):
            raise Fenced("the lease is lost")
        self._wanted = None
        wanted.set_result(found)

    async def _close(self) -> None:
        await self._pull.close()
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()

    async def _interrupt(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._pull.interrupt()

    async def _fold_on(self, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            if self._lease.lapsed:
                raise Fenced("the lease lapsed")
            due_s = self._flushed_at + limits.FLUSH_INTERVAL_S - loop.time()
            wants_flush = self._partition.folded != self._applied
            pulled = await self._pull.next(max(0.0, due_s) if wants_flush else _PATIENCE_S)
            await self._fold(pulled)
            if loop.time() >= self._flushed_at + limits.FLUSH_INTERVAL_S:
                await self._flush()
            if self._wanted is not None:
                await self._take_checkpoint(self._wanted)
        await self._flush()

    async def _fold(self, pulled: list[Pulled]) -> None:
        """Folds all of them, and flushes between when there is much."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self._in_hand = len(pulled)
        for message in pulled:
            self._oldest_at_s = message.stored_at_s
            stored_at_us = int(message.stored_at_s * 1e6)
            letters = self._partition.fold(message.sequence, message.data, stored_at_us)
            if letters:
                self._dead_letters += len(letters)
                await self._letters.publish(letters)
            self._in_hand -= 1
            self._blocks += 1
            self._last_at_s = message.stored_at_s
            if message.headers is not None:
                self._causes.append(telemetry.cause_in(message.headers))
            now = loop.time()
            much = self._partition.unflushed_events >= limits.FLUSH_EVENTS_MAX
            if much or now - max(began_at, self._flushed_at) >= limits.FLUSH_INTERVAL_S:
                await self._flush()
            elif now - self._yielded_at >= _TURN_S:
                await asyncio.sleep(0)
                self._yielded_at = loop.time()
        self._oldest_at_s = None

    async def _flush(self) -> None:
        flush = self._partition.take_flush()
        if flush is None:
            return
        loop = asyncio.get_running_loop()
        causes, self._causes = self._causes, []
        blocks, self._blocks = self._blocks, 0
        with telemetry.batch_span(
            f"process {subjects.events(self._partition.index)}",
            SpanKind.CONSUMER,
            causes,
            {"messaging.system": "nats", "messaging.batch.message_count": blocks},
        ):
            asked_at = loop.time()
            await self._stored.flush(self._lease.token, flush.before, flush.state, flush.writes)
            self._applied = self._lease.applied = flush.after
            self._lease.renewed(asked_at)
            self._flushed_at = self._yielded_at = loop.time()
            await self._publish(flush)

    async def _publish(self, flush: Flush) -> None:
        """Best effort: who misses a partial gets it from Redis."""
        traced = telemetry.headers()
        with contextlib.suppress(NatsError):
            for partial in flush.partials:
                await self._bus.client.publish(
                    subjects.results(partial.game_id, partial.topic, partial.partition),
                    partial.SerializeToString(),
                    headers=dict(traced) if traced else None,
                )

    async def _on_votes(self, message: Msg) -> None:
        """Answers which votes are second ones; who is not answered refuses nothing."""
        if self._lease.lapsed or not message.reply:
            return
        try:
            answer = self._partition.second_votes(VotedRequest.FromString(message.data))
        except (DecodeError, ValueError) as error:
            log.warning("partition %d: a question about votes: %s", self._partition.index, error)
            return
        with contextlib.suppress(NatsError):
            await message.respond(answer.SerializeToString())
