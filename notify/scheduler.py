"""Sends what is scheduled when it is due: the shell of notify.agenda.

Any number of instances do so at the same time, each for all schedules. An occurrence is published under a
subject of its own and only if that has none yet, so it is stored once, whoever is first; nothing is leased,
and nothing is handed over when an instance dies or wakes after a long stop.

What is due is in the stream alone. An instance that begins reads the schedules that are not over, leaves out
what has expired, and finds by the refusals which occurrences were stored before. So what fell due while no
instance ran is sent when one is back, unless it has expired.

A schedule whose last occurrence is stored, or that was taken back, is purged from the list. The moments are
of the mesh's clock, which is looked at every LOOK_S at least, so one that jumps costs no more.

Bounds: SCHEDULED_MAX schedules, DUE_AT_ONCE occurrences under way. One that cannot be published is tried
again every DUE_AGAIN_S until it has expired.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.wire import tasks
from grandstand.wire.errors import GrandstandError, Invalid
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered
from notify import orders
from notify.agenda import Agenda, DueOccurrence
from notify.bounds import DUE_AGAIN_S, DUE_AT_ONCE
from notify.quotas import Quotas
from notify.reopening_consumer import ReopeningConsumer
from notify.schedule import nanoseconds, plan_of
from notify.sending import NOTICES_FULL
from notify.stream_log import StreamLog

log = logging.getLogger(__name__)

LOOK_S = 0.5


class Scheduler:
    """`now_s`: Unix seconds of the mesh's clock."""

    def __init__(self, bus: Bus, quotas: Quotas, now_s: Callable[[], float]) -> None:
        self._quotas = quotas
        self._bus = bus
        self._now_s = now_s
        self._log = StreamLog(bus, subjects.NOTICES_STREAM, NOTICES_FULL)
        self._agenda = Agenda()
        self._over: set[str] = set()
        """Whose schedules are to be purged."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.sent = 0
        """Occurrences that were due and are stored."""
        self._following = ReopeningConsumer(
            bus,
            subjects.NOTICES_STREAM,
            [subjects.NOTICES_SCHEDULED_ALL, subjects.NOTICES_CANCELLED_ALL],
            self._hear,
        )

    def scheduled(self) -> int:
        """How many schedules are not over."""
        return len(self._agenda)

    async def run(self) -> None:
        """Until cancelled."""
        following = asyncio.create_task(self._following.run())
        try:
            while True:
                self._wake.clear()
                room = DUE_AT_ONCE - len(self._under_way)
                for due in self._agenda.due(self._now_ns(), room):
                    self._begin(self._send(due))
                if self._over and room > 0:
                    self._begin(self._purge(self._over.pop()))
                    continue
                await self._sleep(room)
        finally:
            await tasks.end(following, *self._under_way)

    async def _sleep(self, room: int) -> None:
        """Until something may be due, or there is room again."""
        wait_s, next_ns = LOOK_S, self._agenda.next_ns()
        if next_ns is not None and room > 0:
            wait_s = min(wait_s, max(0.0, (next_ns - self._now_ns()) / 1e9))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    def _hear(self, message: Delivered) -> None:
        name = message.subject.rpartition(".")[2]
        if not message.subject.startswith(subjects.notice_scheduled("")):
            if name in self._agenda:
                self._agenda.leave(name)
                self._over.add(name)
        else:
            try:
                notice = StoredNotice.FromString(message.data).notice
                plan = plan_of(notice.schedule)
            except (DecodeError, Invalid) as error:
                log.error("schedule %s cannot be read: %s", name, error)
                return
            if not self._agenda.enter(name, plan, orders.expires_after_ns(notice), self._now_ns()):
                self._over.add(name)
        self._wake.set()

    async def _send(self, due: DueOccurrence) -> None:
        try:
            following = await self._publish(due)
        except GrandstandError as error:
            log.warning("notice %s, occurrence %d, is late: %s", due.name, due.occurrence, error.message)
            self._agenda.again(due.name, self._now_ns() + int(DUE_AGAIN_S * 1e9))
        else:
            self.sent += 1
            if not self._agenda.passed(due.name, following, self._now_ns()):
                self._over.add(due.name)

    async def _publish(self, due: DueOccurrence) -> int:
        """With which occurrence to go on."""
        name, occurrence = due
        entry = await self._log.newest(subjects.notice_scheduled(name))
        if not entry.sequence:  # over: another instance purged it
            self._agenda.leave(name)
            return occurrence
        stored = _occurrence(StoredNotice.FromString(entry.data), occurrence)
        if nanoseconds(stored.expires_at) <= self._now_ns():
            return occurrence + 1
        is_list = not stored.notice.HasField("audience")
        if is_list:
            is_new = await self._publish_parts(name, stored)
        else:
            is_new = await self._put(subjects.notice_due(name, occurrence), stored)
        if is_new:
            return occurrence + 1
        # Stored before, and perhaps more: go on with what nobody has stored. Of a list the last one may be
        # incomplete.
        last = await self._log.newest(subjects.notice_due_all(name))
        reached = max(occurrence, StoredNotice.FromString(last.data).occurrence)
        return reached if is_list and reached > occurrence else reached + 1

    async def _publish_parts(self, name: str, stored: StoredNotice) -> bool:
        """Whether all of them are new."""
        is_new = True
        for part in itertools.count():
            found = await self._log.newest(subjects.notice_part(name, part))
            if not found.sequence:
                return is_new
            of_part = StoredNotice(actor_ids=StoredNotice.FromString(found.data).actor_ids)
            of_part.MergeFrom(stored)
            is_new &= await self._put(subjects.notice_due(name, stored.occurrence, part), of_part)
        raise AssertionError("the count does not end")

    async def _put(self, subject: str, stored: StoredNotice) -> bool:
        """Whether it is new. Raises Exhausted, Unavailable."""
        game_id = stored.notice.game_id
        self._quotas.check("notice.game_id", game_id)
        kept = await self._log.put(subject, stored.SerializeToString())
        if kept.is_new:
            self._quotas.add(game_id, subject, stored)
        return kept.is_new

    async def _purge(self, name: str) -> None:
        """One that cannot be purged now is found over again by whoever reads the list next."""
        try:
            await self._bus.js.purge_stream(subjects.NOTICES_STREAM, subject=subjects.notice_scheduled(name))
        except (NatsError, TimeoutError) as error:
            log.info("schedule %s is over and stays in the list: %s", name, error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()

    def _now_ns(self) -> int:
        return int(self._now_s() * 1e9)


def _occurrence(entry: StoredNotice, occurrence: int) -> StoredNotice:
    """The same bytes from whoever makes it: sent when it was due."""
    due_ns = plan_of(entry.notice.schedule).due_ns(occurrence)
    stored = StoredNotice(notice=entry.notice, occurrence=occurrence, generation=entry.generation)
    stored.notice.ClearField("schedule")
    stored.sent_at.FromNanoseconds(due_ns)
    stored.due_at.FromNanoseconds(due_ns)
    stored.expires_at.FromNanoseconds(due_ns + orders.expires_after_ns(entry.notice))
    return stored
