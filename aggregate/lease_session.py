"""What a worker does while it holds the lease of a partition: pull blocks, fold them, flush, publish.

The first block after an idle period is flushed at once; then there is a flush as often as aggregate.pace
says, and under a backlog one after FLUSH_EVENTS_MAX events. Results are published only after their flush,
so no viewer ever sees a result that could be lost (I5). Between blocks the session yields to the event loop:
a backlog delays neither the renewal of the lease nor other requests.

Each second the session looks at the stream and at some keys of the state, all of them in turn: what Redis
lost while nothing was written there is noticed too, and the look proves that both do what they are for.

A session ends with an exception or by `stopping`; in the latter case it flushes what it has folded. Either
way the worker then releases the lease, and takes the partition over again from what Redis holds. A session
that could not renew its lease for LEASE_S ends without asking Redis: a process that was suspended must not
pull from a consumer that belongs to another worker by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from aggregate import bounds, fold_spans
from aggregate.binding import fit, fits
from aggregate.checkpoint import take
from aggregate.deadletters import DeadLetters
from aggregate.eventlog import EventLog
from aggregate.fold_counts import FoldCounts
from aggregate.lease import Lease
from aggregate.pace import FlushPace
from aggregate.partition import Flush, Partition
from aggregate.partition_health import Dependency, PartitionHealth
from aggregate.partition_store import PartitionStore
from aggregate.results_messages import results_messages
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import (
    BlockIdentity,
    Checkpoint,
    PartitionState,
    VotedRequest,
)
from grandstand.wire.tasks import end
from mesh import limits, telemetry, wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pull, Pulled
from mesh.redis.database import RedisError
from mesh.redis.errors import Corrupt, Fenced, Rewound
from mesh.tracing.record import SpanRecord

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_TURN_S = 0.005
_ALWAYS = ("topics", "log:origins", "log:votes")
"""Keys that every write of a partition stands on: looked at each time."""


@dataclass(frozen=True, slots=True)
class SessionStart:
    """What the worker found in the stream and in Redis when it took the partition over."""

    stream: str
    """The identity of the event stream."""
    head: int
    """The sequence of the partition's last block."""
    target: int
    """Nothing is published before this sequence is folded: until then a rebuilt state is incomplete."""
    bound: BlockIdentity
    """The last block in the state."""


class LeaseSession:
    def __init__(
        self,
        bus: Bus,
        stored: PartitionStore,
        letters: DeadLetters,
        log: EventLog,
        partition: Partition,
        lease: Lease,
        health: PartitionHealth,
        *,
        start: SessionStart,
        pace: FlushPace | None = None,
        now: Callable[[], float] = wall_clock.now_s,
        counts: FoldCounts | None = None,
    ) -> None:
        """`pace` and `counts`: shared by the sessions of a process. `now`: Unix seconds by the mesh's clock,
        which also stamps what is stored."""
        self._now = now
        self._bus = bus
        self._stored = stored
        self._letters = letters
        self._partition = partition
        self._lease = lease
        self._health = health
        self._log = log
        self._stream = start.stream
        self._head = start.head
        self._target = start.target
        self._bound = start.bound
        self._sweep_at = "0"
        self._sweep: Sequence[str] = ()
        self._sweep_count = limits.SWEEP_KEYS_MAX
        self._keys = 0
        self._wanted: asyncio.Future[Checkpoint | None] | None = None
        self._is_over = False
        self._pull = Pull(
            bus,
            subjects.EVENTS_STREAM,
            [subjects.events(partition.index)],
            subjects.consumer(partition.index),
        )
        self._subscription: Subscription | None = None
        self._applied = lease.applied = partition.folded
        self._pace = (pace or FlushPace()).of(partition.index)
        self._counts = counts or FoldCounts()
        self._flushed_at = 0.0
        self._due_at = 0.0
        """When what was folded since the last flush was due to be flushed."""
        self._yielded_at = 0.0
        self._busy_s = 0.0
        """How long folding has held the event loop since the last flush."""
        self._causes: list[str] = []
        self._traced_ns = 0
        """When the first of them was folded."""
        self._blocks = 0
        self._in_hand = 0
        self._oldest_at_s: float | None = None
        self._last_at_s: float | None = None
        self._dead_letters = 0

    async def serve(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping` is set. Raises Fenced, Rewound, Corrupt, PullBroken, RedisError, NatsError,
        TimeoutError."""
        interrupt = asyncio.create_task(self._interrupt(stopping))
        watch = asyncio.create_task(self._watch())
        watch.add_done_callback(lambda _: self._pull.interrupt())
        try:
            await self._pull.open(self._applied + 1)
            # Check again: from here on a server that loses its tail breaks the pull. A tail that was lost
            # earlier, while the state was loaded, would be hidden by the next block that is stored.
            await self._look()
            self._subscription = await self._bus.client.subscribe(
                subjects.votes(self._partition.index), cb=self._on_votes
            )
            await self._fold_on(stopping, watch)
        finally:
            self._is_over = True
            await end(interrupt, watch)
            if not watch.cancelled():
                watch.exception()
            if self._wanted is not None and not self._wanted.done():
                self._wanted.set_result(None)
            await self._close()

    def status(self, instance: str) -> PartitionStatus | None:
        """The progress of the fold; None before the first pull, and if the lease may be lost by now."""
        if self._lease.lapsed or self._subscription is None:
            return None
        blocks = self._in_hand + self._pull.queued + self._pull.pending
        oldest_at_s = self._oldest_at_s or self._pull.oldest_queued_at_s or self._last_at_s
        now_s = self._now()
        found = PartitionStatus(
            partition=self._partition.index,
            owner=instance,
            applied=self._applied,
            lag_blocks=blocks,
            lag_ms=max(0, int((now_s - oldest_at_s) * 1000)) if blocks and oldest_at_s else 0,
            dead_letters=self._dead_letters,
            uncounted=self._partition.uncounted,
            origins_from_s=self._partition.origins_from_s,
            sweep_ms=int(1000 * limits.SWEEP_LOOK_S * self._looks),
            flush_ms=int(1000 * self._pace.interval_s) if self._pace.is_widened else 0,
            problem=self._health.problem(asyncio.get_running_loop().time()) or self._partition.lacks,
        )
        found.as_of.FromNanoseconds(int(now_s * 1e9))
        return found

    async def checkpoint(self) -> Checkpoint | None:
        """The current state, read from Redis while the fold pauses; None if the session ends before that, or
        nothing is folded yet."""
        if self._is_over:
            return None
        if self._wanted is None:
            self._wanted = asyncio.get_running_loop().create_future()
            self._pull.interrupt()
        return await asyncio.shield(self._wanted)

    async def _take_checkpoint(self, wanted: asyncio.Future[Checkpoint | None]) -> None:
        await self._flush()
        token, index = self._lease.token, self._partition.index
        found = None
        if self._applied:
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
        """Runs until the stream no longer holds what the state was folded from, or Redis has lost the state.
        Raises Corrupt, Rewound."""
        while True:
            await asyncio.sleep(bounds.LOOK_S)
            await asyncio.gather(
                self._proving(self._health.redis, self._look_at_state),
                self._proving(self._health.events, self._look_at_stream),
            )

    async def _proving(self, of: Dependency, look: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(bounds.LOOK_WITHIN_S):
                await look()
        except TimeoutError:
            of.failed("", loop.time())
        except (NatsError, RedisError) as error:
            of.failed(str(error) or type(error).__name__, loop.time())
        else:
            of.proved(loop.time())

    async def _look(self) -> None:
        """Raises Corrupt, Rewound, NatsError, RedisError, TimeoutError."""
        await self._end_of_stream()
        await self._look_at_state()
        await self._look_at_stream()

    @property
    def _looks(self) -> int:
        """How many it takes to come by every key."""
        return max(limits.SWEEP_LOOKS, -(-self._keys // limits.SWEEP_KEYS_MAX))

    async def _look_at_state(self) -> None:
        """At a part of the stored state, and at the next part the next time. Raises Corrupt, Rewound,
        RedisError."""
        applied = self._applied
        looked = await self._stored.look({*_ALWAYS, *self._sweep}, self._sweep_at, self._sweep_count)
        if not looked.stream:
            raise Rewound("Redis has lost which stream the state is of")
        if looked.applied < applied:
            raise Rewound(f"the stored state went back from {applied} to {looked.applied}")
        if looked.manifest_at != looked.applied:
            raise Corrupt(
                f"Redis has lost the manifest of {looked.applied}, or has one of {looked.manifest_at}"
            )
        if looked.broken:
            raise Corrupt(f"Redis has lost {looked.broken}, or has it as it was")
        self._sweep_at, self._sweep = looked.next_at, looked.names
        self._sweep_count = min(limits.SWEEP_KEYS_MAX, 1 + looked.listed // limits.SWEEP_LOOKS)
        self._keys = looked.listed

    async def _look_at_stream(self) -> None:
        """Raises Corrupt, NatsError, TimeoutError."""
        bound = self._bound
        if not bound.sequence or self._applied < self._target:
            head = await self._log.last(self._partition.index)
            if self._applied < self._target > head:
                raise Corrupt(
                    f"the stream has lost its tail: the partition's ends at {head}, and was to be folded up"
                    f" to {self._target} before it is shown"
                )
        if not bound.sequence:
            return
        there = await self._log.block(bound.sequence)
        last, first = bound.sequence, 0
        if there is None:
            # Look again once the end is known: the stream may be growing back over it.
            last = await self._end_of_stream()
            there = await self._log.block(bound.sequence)
            first = await self._log.first(self._partition.index) if there is None else 0
        if not fits(fit(PartitionState(applied=bound.sequence, bound=bound), there, last, first)):
            raise Corrupt(f"the stream has lost its tail: it holds another block {bound.sequence}")

    async def _end_of_stream(self) -> int:
        """Its last sequence. Raises Corrupt if it is another stream than that of the state."""
        stream, last = await self._log.stream()
        if stream != self._stream:
            raise Corrupt(f"the event stream of {self._stream} was recreated, as that of {stream}")
        return last

    async def _fold_on(self, stopping: asyncio.Event, watch: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            if watch.done():
                watch.result()
            if self._lease.lapsed:
                raise Fenced("the lease lapsed")
            due_at = self._pace.due_at(self._flushed_at)
            wants_flush = self._partition.folded != self._applied
            patience_s = max(0.0, due_at - loop.time()) if wants_flush else _PATIENCE_S
            pulled = await self._pull.next(patience_s, due_at)
            if not wants_flush:
                self._due_at = max(due_at, self._pull.first_at_s)
            if pulled:
                await self._fold(pulled)
            if loop.time() >= due_at:
                await self._flush()
            if self._wanted is not None:
                await self._take_checkpoint(self._wanted)
        await self._flush()

    async def _fold(self, pulled: list[Pulled]) -> None:
        """Folds all of them, with flushes in between if there are many."""
        loop = asyncio.get_running_loop()
        began_at = busy_from = loop.time()
        self._in_hand = len(pulled)
        for message in pulled:
            self._oldest_at_s = message.stored_at_s
            stored_at_us = int(message.stored_at_s * 1e6)
            letters = self._partition.fold(message.sequence, message.data, stored_at_us)
            if letters:
                # A definition that was purged beneath this fold is missing too: then nothing is set aside.
                # Beyond the head a later owner purges, if this one lost its lease and does not know it yet.
                await self._check_purged()
                self._dead_letters += len(letters)
                await self._letters.publish(letters)
            self._in_hand -= 1
            self._blocks += 1
            self._last_at_s = message.stored_at_s
            if message.headers is not None and (cause := telemetry.cause_in(message.headers)):
                self._causes.append(cause)
                self._traced_ns = self._traced_ns or wall_clock.now_ns()
            now = loop.time()
            self._busy_s += now - busy_from
            busy_from = now
            much = self._partition.unflushed_events >= bounds.FLUSH_EVENTS_MAX
            if much or now - max(began_at, self._flushed_at) >= self._pace.interval_s:
                await self._flush()
                busy_from = self._due_at = loop.time()
            elif now - self._yielded_at >= _TURN_S:
                await asyncio.sleep(0)
                busy_from = self._yielded_at = loop.time()
        self._oldest_at_s = None

    async def _flush(self) -> None:
        began_at = asyncio.get_running_loop().time()
        flush = self._partition.take_flush()
        if flush is None:
            return
        self._busy_s += asyncio.get_running_loop().time() - began_at
        causes, self._causes = self._causes, []
        traced_ns, self._traced_ns = self._traced_ns, 0
        blocks, self._blocks = self._blocks, 0
        if not causes:
            await self._store(flush, blocks)
            return
        subject = subjects.events(self._partition.index)
        with telemetry.batch_span(
            *(f"process {subject}", SpanKind.CONSUMER, causes, fold_spans.process(subject, blocks)),
            started_ns=traced_ns,
        ) as span:
            await self._store(flush, blocks, causes[0], span)

    async def _store(
        self, flush: Flush, blocks: int, cause: str = "", span: SpanRecord | None = None
    ) -> None:
        """And publishes it. `cause`: the first trace context; `span`: the running one."""
        if self._applied < self._head:
            await self._check_purged()
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        storing = self._stored.flush(self._lease.token, flush.before, flush.state, flush.writes)
        with fold_spans.flush(span, self._partition.index, flush) if span else contextlib.nullcontext():
            await storing
        self._applied = self._lease.applied = flush.after
        self._bound = flush.state.bound
        self._lease.renewed(asked_at)
        self._flushed_at = self._yielded_at = loop.time()
        if span is None and self._flushed_at - asked_at > telemetry.SLOW_S:
            fold_spans.slow(self._partition.index, flush, self._flushed_at - asked_at)
        late_s = self._flushed_at - self._due_at
        self._counts.flushed(
            *(flush.events, blocks, len(flush.writes), self._flushed_at - asked_at),
            is_late=late_s > self._pace.interval_s / 2,
            traceparent=cause,
        )
        busy_s, self._busy_s = self._busy_s, 0.0
        self._pace.flushed(late_s, busy_s, self._flushed_at)
        await self._publish(flush, telemetry.headers() if span else None)

    async def _check_purged(self) -> None:
        """Checks, before a flush under a backlog and before each dead letter, that no block was missing.

        A former owner may purge blocks, after a checkpoint, that this one has not folded yet; the consumer
        skips the gap silently. The purge marker is stored before the blocks are purged: if there is no
        marker now, nothing was missing. From the head on a flush runs no such risk: no former owner can have
        folded further, and a later one's lease refuses it. Raises Corrupt, NatsError, TimeoutError.
        """
        floor = (await self._log.purged(self._partition.index)).floor(self._stream)
        if floor > self._applied:
            raise Corrupt(f"blocks below {floor} were purged while it was folded from {self._applied}")

    async def _publish(self, flush: Flush, traced: Mapping[str, str] | None) -> None:
        """Best effort: a gateway that misses a message sees the gap, and reads Redis. While a state is being
        rebuilt nothing is published until it has reached the target: before that it holds a fraction of the
        count. The first message after that leaves a gap."""
        if flush.after < self._target:
            return
        subject = subjects.results(self._partition.index)
        with contextlib.suppress(NatsError):
            for message in results_messages(
                partition=self._partition.index,
                before=flush.before,
                after=flush.after,
                stream=self._stream,
                partials=flush.partials,
                bytes_max=self._bus.client.max_payload,
                forgotten=flush.forgotten,
            ):
                await self._bus.client.publish(subject, message, headers=dict(traced) if traced else None)

    async def _on_votes(self, message: Msg) -> None:
        """Tells an ingest which votes are second votes. Without a reply, ingest admits the vote; the fold
        deduplicates it."""
        if self._lease.lapsed or not message.reply:
            return
        try:
            answer = self._partition.second_votes(VotedRequest.FromString(message.data))
        except (DecodeError, ValueError) as error:
            log.warning("partition %d: a question about votes: %s", self._partition.index, error)
            return
        with contextlib.suppress(NatsError):
            await message.respond(answer.SerializeToString())
