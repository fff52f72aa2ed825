"""Runs the workers of the partitions that are this process's own, as workers come and go.

    beats ──▶ Membership ──who lives──▶ assignment ──what is ours──▶ PartitionWorker start / stop

A worker that starts asks who is there, and waits WORKER_HEARING_S before it takes anything: else it
would take all partitions, and give most of them back. A partition that is another's now is given
up after a flush and a beat says so; its new owner, which tries every LEASE_POLL_S anyway, hears
that and tries at once.

A second process of one instance name would take that one's leases for those of its own former life. So it
does not start, and one that finds its name in use by a later life ends (see aggregate.membership).

Everything here is a hint, made of messages that may be lost: only the lease in Redis says who
writes (I3), and a lost beat costs at most LEASE_POLL_S, or WORKER_SILENCE_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from aggregate import assignment, bounds
from aggregate.membership import Membership
from aggregate.worker import PartitionWorker
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import WorkerBeat
from grandstand.wire.tasks import end
from mesh import telemetry, wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

_SETTLED_S = 10.0
_STOPPED_S = 5.0


class NameTaken(OSError):
    """Another process has this instance's name."""


class Ownership:
    def __init__(self, bus: Bus, instance: str, worker_of: Callable[[int], PartitionWorker]) -> None:
        self._bus = bus
        self._instance = instance
        self._worker_of = worker_of
        self._running: dict[int, tuple[PartitionWorker, asyncio.Task[None]]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        life = f"{wall_clock.now_ns():020d}-{uuid.uuid4().hex[:8]}"
        self._membership = Membership(instance, life, asyncio.get_running_loop().time())
        self._taken = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def owned(self) -> list[PartitionWorker]:
        return [worker for worker, _ in self._running.values() if worker.owns]

    def statuses(self) -> Iterable[PartitionStatus]:
        """Of the partitions that are owned here and now."""
        for worker, _ in self._running.values():
            status = worker.status(self._instance)
            if status is not None:
                yield status

    async def start(self) -> None:
        """Returns as soon as the others could answer; the partitions are taken from then on.

        Raises NameTaken."""
        self._subscription = await self._bus.client.subscribe(subjects.WORKERS, cb=self._on_beat)
        self._bus.on_reconnect(self._on_reconnect)
        await self._say(self._membership.beat(asks=True))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(bounds.WORKER_HEARING_S):
                await self.until_taken()
        if self._taken.is_set():
            raise NameTaken(
                "another process of this name is running; give each its own --instance, or end that one"
            )
        with telemetry.detached():
            self._task = asyncio.create_task(self._run())

    async def until_taken(self) -> None:
        """Until another process has our name, and it is for this one to end."""
        await self._taken.wait()

    async def settled(self) -> None:
        """Until each partition of ours is owned, or found to be held by another; no longer than _SETTLED_S:
        who serves may wait for its partitions, a process that never serves would be restarted for ever."""
        self._assign()
        waits = [asyncio.create_task(worker.settled.wait()) for worker, _ in self._running.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=_SETTLED_S)
            for wait in late:
                wait.cancel()
            if late:
                log.warning("%d partitions are not taken over yet", len(late))

    async def stop(self) -> None:
        """Flushes and gives up all partitions, and tells the others to take them."""
        if self._task is not None:
            await end(self._task)
        released = frozenset(self._running)
        tasks = [*(task for _, task in self._running.values()), *self._leaving]
        for worker, _ in self._running.values():
            worker.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOPPED_S)
            await end(*late)
        self._running = {}
        if not self._taken.is_set():  # else the others would take the other one for gone
            await self._say(self._membership.beat(leaving=True, released=released))
        self._bus.off_reconnect(self._on_reconnect)
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        beat_at = loop.time()
        while True:
            self._assign()
            self._changed.clear()
            if loop.time() >= beat_at:
                beat_at = loop.time() + bounds.WORKER_BEAT_S
                await self._say(self._membership.beat())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat_at):
                    await self._changed.wait()

    def _assign(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._bus.client.is_connected:
            self._membership.was_deaf(now)
        live = self._membership.live(now)
        mine = assignment.share_of(self._instance, live)
        for partition in sorted(mine - self._running.keys()):
            worker = self._worker_of(partition)
            self._running[partition] = (worker, asyncio.create_task(worker.run()))
        for partition in sorted(self._running.keys() - mine):
            worker, task = self._running.pop(partition)
            leaving = asyncio.create_task(self._give_up(worker, task))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _give_up(self, worker: PartitionWorker, task: asyncio.Task[None]) -> None:
        worker.stop()
        await asyncio.gather(task, return_exceptions=True)
        log.info("partition %d is given up", worker.index)
        await self._say(self._membership.beat(released=frozenset([worker.index])))

    async def _say(self, beat: WorkerBeat) -> None:
        with contextlib.suppress(NatsError):
            await self._bus.client.publish(subjects.WORKERS, beat.SerializeToString())

    async def _on_beat(self, message: Msg) -> None:
        try:
            beat = WorkerBeat.FromString(message.data)
        except DecodeError:
            return
        effect = self._membership.hear(beat, asyncio.get_running_loop().time())
        if effect.is_taken:
            self._taken.set()
        if effect.changed:
            log.info("%s %s", beat.instance, "leaves" if beat.leaving else "is here")
            self._changed.set()
        if effect.answer:
            await self._say(self._membership.beat())
        for partition in effect.released:
            if partition in self._running:
                self._running[partition][0].try_now()

    def _on_reconnect(self) -> None:
        self._membership.was_deaf(asyncio.get_running_loop().time())
