"""Keeps what inboxes are made of in Redis as the streams say, and tells gateways what changed.

One process of all does so, who has the lease, because more would do the same work twice; two that believe to
have it do no harm, as all they do may be done again (notify.inbox_scripts). Each RENEW_S it renews the lease,
notes in Redis how far it is, and looks whether that is still there: a Redis that was emptied, or that failed
over to an older state, says less than was noted, and what it lacks is applied again from there. What only a
part of Redis lost, a scrub brings back (notify.scrub).

    stored in the stream ──▶ in Redis ──▶ pushed ──▶ noted as applied

Whoever dies between any two of these leaves something that the next one does again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import InboxChange, Reader
from grandstand.wire import actors
from grandstand.wire.errors import Invalid, NotNow
from mesh import wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pulled
from mesh.jetstream.walk import walk
from mesh.notices.store import NoticeStore, applied_keys
from mesh.notices.stored import StreamPosition
from mesh.notices.streams import ensure_streams
from mesh.redis import layout
from mesh.redis.database import Database, RedisError
from notify import inbox_scripts, quotas
from notify.applying import Applier, decoded
from notify.bounds import LEASE_MS, LEASE_RENEW_S, STUCK_S
from notify.follower import Follower
from notify.purging import Keeps
from notify.routing import expires_s
from notify.routing import pushes as pushed
from notify.scrub import Repair, Scrub

log = logging.getLogger(__name__)

_SILENT_S = 3.0


class _Over(Exception):
    """The lease is another's, or Redis went back: begin again with what it says."""


class Keeper:
    """`life`: what tells this process from others, and from an earlier one of its name."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        life: str,
        keeps: Keeps = lambda _game_id: True,
        clock: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`keeps`: of which games the last firing of each rule is kept. `clock`: Unix seconds."""
        self.applier = Applier(bus, database, clock)
        self._bus = bus
        self._database = database
        self._store = NoticeStore(database)
        self._life = life
        self._keeps = keeps
        self._clock = clock
        self.followers: list[Follower] = []
        self._looked_s = float("-inf")
        self._said = ""
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    if await self._take_lease():
                        log.info("%s keeps the inboxes", self._life)
                        await self._keep()
                except* (_Over, NotNow, RedisError, NatsError, TimeoutError) as errors:
                    self._say(_why(errors))
                except* Exception:  # a fault of ours in one notice is not to end all
                    log.exception("inboxes: an error; it is begun again")
                if self.followers:
                    await self._leave()
                self.followers = []
                await asyncio.sleep(LEASE_RENEW_S * random.uniform(0.5, 1.0))
        finally:
            await self._leave()

    def _say(self, why: str) -> None:
        """Once while it lasts."""
        if why != self._said:
            self._said = why
            log.warning("inboxes: %s; it is begun again", why)

    def refusal(self) -> str | None:
        """Why the inboxes are not well kept as far as this process sees; "": it waits for an answer; None:
        they are."""
        now_s = self._loop.time()
        if now_s > self._looked_s + _SILENT_S:
            return ""
        silent = [each.stream for each in self.followers if now_s > each.heard_s + _SILENT_S]
        return f"{', '.join(silent)}: nothing is applied" if silent else None

    async def _take_lease(self) -> bool:
        key = layout.NOTICES_LEASE
        holder = await self._database.run(inbox_scripts.LEASE, [key], [self._life, LEASE_MS])
        self._looked_s = self._loop.time()
        return bool(holder == self._life.encode())

    async def _leave(self) -> None:
        """Another may be in a better place."""
        with contextlib.suppress(RedisError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._database.run(inbox_scripts.LEAVE, [layout.NOTICES_LEASE], [self._life])

    async def _keep(self) -> None:
        """Raises _Over, RedisError, NatsError, TimeoutError, in a group."""
        await ensure_streams(self._bus)
        applied = await self._store.applied()
        await self._learn_cancelled()
        followers = [
            Follower(self._bus, name, taken, apply, applied.get(name, StreamPosition()), self._clock)
            for name, taken, apply in (
                (subjects.NOTICES_STREAM, subjects.NOTICES_ALL, self._apply_notices),
                (subjects.READERS_STREAM, subjects.READERS_ALL, self._apply_readers),
                (subjects.SEGMENTS_STREAM, subjects.SEGMENTS_ALL, self._apply_segments),
            )
        ]
        self.followers = followers
        repairs: dict[str, Repair] = {
            each.stream: partial(each.apply, anew=False, pushes=False) for each in followers
        }
        repairs[subjects.NOTICES_STREAM] = self._repair_notices
        note_used = partial(quotas.note, self._database)
        scrub = Scrub(self._bus, repairs, self._keeps, self._clock, note_used)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            for each in followers:
                tasks.create_task(each.run())
            tasks.create_task(scrub.run())

    async def _learn_cancelled(self) -> None:
        """What was taken back is not told first by who applies all from the beginning."""
        async for pulled, _ in walk(self._bus, subjects.NOTICES_STREAM, [subjects.NOTICES_CANCELLED_ALL]):
            for _, subject, stored in decoded(pulled):
                self.applier.remember_cancelled(subject, stored)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_RENEW_S)
            for each in self.followers:
                if self._loop.time() > each.heard_s + STUCK_S:
                    raise _Over(f"nothing of {each.stream} was applied for {STUCK_S:g} s")
            if not await self._take_lease():
                raise _Over("another process has the lease")
            await self._note()

    async def _note(self) -> None:
        """How far it is. Raises _Over if less is there than was noted before."""
        noted = [(each, each.applied) for each in self.followers]
        words: list[str | int] = []
        for each, applied in noted:
            changed = "" if applied == each.noted else f"{applied.stream} {applied.sequence}"
            words += (each.stream, each.noted.stream, each.noted.sequence, changed)
        keys = await applied_keys(self._database)
        for lost in await asyncio.gather(
            *(self._database.run(inbox_scripts.NOTE, [key], words) for key in keys)
        ):
            if lost:
                raise _Over(f"Redis, or a part of it, went back in {lost.decode()}")
        for each, applied in noted:
            each.noted = applied

    async def _apply_notices(self, pulled: Sequence[Pulled], *, anew: bool, pushes: bool) -> None:
        deliveries = await self.applier.notices(list(decoded(pulled)), anew=anew, takes_back=not anew)
        if pushes:
            await self._push(pushed(deliveries))

    async def _repair_notices(self, pulled: Sequence[Pulled]) -> None:
        lives = [each for each in decoded(pulled) if expires_s(each[2]) > self._clock()]
        await self.applier.notices(lives, takes_back=False)

    async def _apply_readers(self, pulled: Sequence[Pulled], *, anew: bool, pushes: bool) -> None:
        changes = list(_readers(pulled))
        await _all(self.applier.reader(*change, anew=anew) for change in changes)
        if pushes:
            await self._push(
                (subjects.inbox(actor_id), _encoded(InboxChange(reader=reader, reader_sequence=sequence)))
                for actor_id, sequence, reader in changes
            )

    async def _apply_segments(self, pulled: Sequence[Pulled], *, anew: bool, pushes: bool) -> None:
        changes = list(_members(pulled))
        await _all(
            self.applier.segment(actor_id, segment, sequence, belongs=belongs, anew=anew)
            for actor_id, segment, sequence, belongs in changes
        )
        if pushes:
            change = _encoded(InboxChange(segments=True))
            actor_ids = dict.fromkeys(actor_id for actor_id, _, _, _ in changes)
            await self._push((subjects.inbox(actor_id), change) for actor_id in actor_ids)

    async def _push(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """A lost one costs time only."""
        with contextlib.suppress(NatsError):
            for subject, message in messages:
                await self._bus.client.publish(subject, message)


def _readers(pulled: Iterable[Pulled]) -> Iterator[tuple[str, int, Reader]]:
    for each in pulled:
        try:
            yield actors.decode(each.subject.split(".")[1]), each.sequence, Reader.FromString(each.data)
        except (Invalid, DecodeError):
            log.warning("message %d of READERS is none and is passed over", each.sequence)


def _members(pulled: Iterable[Pulled]) -> Iterator[tuple[str, str, int, bool]]:
    for each in pulled:
        try:
            _, segment, actor = each.subject.split(".")
            yield actors.decode(actor), segment, each.sequence, bool(each.data)
        except Invalid:
            log.warning("message %d of SEGMENTS is none and is passed over", each.sequence)


async def _all(calls: Iterable[Coroutine[None, None, None]]) -> None:
    """One after the other would wait for each answer."""
    await asyncio.gather(*calls)


def _encoded(change: InboxChange) -> bytes:
    return change.SerializeToString()


def _why(errors: BaseExceptionGroup[BaseException]) -> str:
    first = errors.exceptions[0]
    return _why(first) if isinstance(first, BaseExceptionGroup) else str(first) or type(first).__name__
