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
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from aggregate.binding import fit, fits
from aggregate.checkpoint import take
from aggregate.deadletters import DeadLetters
from aggregate.eventlog import EventLog
from aggregate.lease import Lease
from aggregate.partition import Flush, Partition
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import (
    BlockIdentity,
    Checkpoint,
    Partial,
    PartitionState,
    VotedRequest,
)
from grandstand.wire.tasks import end
from mesh import limits, telemetry
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pull, Pulled
from mesh.redis.store import Corrupt, Fenced, PartitionStore, RedisError, Rewound

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_TURN_S = 0.005
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Folds:
    """What a tenure folds."""

    stream: str
    """The identity of the event stream."""
    head: int
    """The partition's last block when it was taken over."""
    target: int
    """Before this block is folded, nothing is published."""
    bound: BlockIdentity
    """The block that the state was folded up to."""


class Tenure:
    def __init__(
        self,
        bus: Bus,
        stored: PartitionStore,
        letters: DeadLetters,
        log: EventLog,
        partition: Partition,
        lease: Lease,
        *,
        folds: Folds,
    ) -> None:
        self._bus = bus
        self._stored = stored
        self._letters = letters
        self._partition = partition
        self._lease = lease
        self._log = log
        self._stream = folds.stream
        self._head = folds.head
        self._target = folds.target
        self._withheld: dict[tuple[str, str], Partial] = {}
        self._bound = folds.bound
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
        watch = asyncio.create_task(self._watch())
        watch.add_done_callback(lambda _: self._pull.interrupt())
        try:
            await self._pull.open(self._applied + 1)
            # Once more, now that a server which loses its tail breaks the pull as well: what was lost while
            # the state was loaded would be hidden by the first block that comes to stand behind it.
            await self._look()
            self._subscription = await self._bus.client.subscribe(
                subjects.votes(self._partition.index), cb=self._on_votes
            )
            await self._fold_on(stopping, watch)
        finally:
            await end(interrupt, watch)
            if not watch.cancelled():
                watch.exception()
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
        token, index = self._lease.token, self._partition.index
        found = await take(self._stored, token, index, self._applied, self._stream)
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

    async def _watch(self) -> None:
        """Until the stream, or Redis, is not any more what the state was folded from and is stored in.
        Raises Corrupt, Rewound."""
        while True:
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(NatsError, RedisError, TimeoutError):  # who needs them notices
                await self._look()

    async def _look(self) -> None:
        """Raises Corrupt, Rewound, NatsError, RedisError, TimeoutError."""
        bound = self._bound
        if not await self._stored.stream():
            raise Rewound("Redis has lost which stream the state is of")
        there = await self._log.block(bound.sequence)
        last = bound.sequence
        if there is None:  # looked for again once the end is known: the stream may be growing back over it
            _, last = await self._log.stream()
            there = await self._log.block(bound.sequence)
        if not fits(fit(PartitionState(applied=bound.sequence, bound=bound), there, last)):
            raise Corrupt(f"the stream has lost its tail: it holds another block {bound.sequence}")

    async def _fold_on(self, stopping: asyncio.Event, watch: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            if watch.done():
                watch.result()
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
            if self._applied < self._head:
                await self._check_purged()
            asked_at = loop.time()
            await self._stored.flush(self._lease.token, flush.before, flush.state, flush.writes)
            self._applied = self._lease.applied = flush.after
            self._bound = flush.state.bound
            self._lease.renewed(asked_at)
            self._flushed_at = self._yielded_at = loop.time()
            await self._publish(flush)

    async def _check_purged(self) -> None:
        """Before what is folded of a backlog is stored: whether all of it was there when it was pulled.

        A former owner's checkpoint may come to purge what this one has not folded yet, and a consumer
        steps over the gap. Its marker is stored before its blocks go, so without a marker now, nothing had
        gone by then. From the head on nothing is to be feared: no former owner can have folded further.
        Raises Corrupt, NatsError, TimeoutError.
        """
        floor = await self._log.floor(self._partition.index)
        if floor > self._applied:
            raise Corrupt(f"blocks below {floor} were purged while it was folded from {self._applied}")

    async def _publish(self, flush: Flush) -> None:
        """Best effort: who misses a partial gets it from Redis. Of a state that is folded anew nothing is
        said before it is where the stream was: it is a fraction of the count."""
        partials = flush.partials
        if flush.after < self._target:
            self._withheld.update(((each.game_id, each.topic), each) for each in partials)
            return
        if self._withheld:
            newest = {**self._withheld, **{(each.game_id, each.topic): each for each in partials}}
            partials, self._withheld = list(newest.values()), {}
        traced = telemetry.headers()
        with contextlib.suppress(NatsError):
            for partial in partials:
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
