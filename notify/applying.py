"""Writes into Redis what the streams say. Applied again, late, or by two at once, it comes to the same.

A notice that was taken back is overwritten by a marker, which stays as long as the notice would have: so
applying the notice again brings it back nowhere. Names of notices that were taken back are remembered, for
what is applied to a key that was lost, and for an occurrence that fell due at the same time.

Bounds: CANCELLED_KNOWN_MAX names, the oldest goes; PUT_TOGETHER_MAX inboxes, and one list's part more, are
written to at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from grandstand.wire import actors
from mesh import wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pulled
from mesh.jetstream.walk import walk
from mesh.notices import bounds
from mesh.redis import layout
from mesh.redis.database import Database
from notify import inbox_scripts
from notify.bounds import CANCELLED_KNOWN_MAX, PUT_TOGETHER_MAX
from notify.routing import Delivery, delivery, expires_s, is_cancellation, is_firing, name_of

log = logging.getLogger(__name__)

Message = tuple[int, str, StoredNotice]
"""Of NOTICES: its sequence, its subject, and what it says."""

_READER_LIFE_MS = bounds.READERS_AGE_MAX_S * 1000


class Applier:
    """All methods raise RedisError; those that may meet a cancellation NatsError and TimeoutError too.

    `anew`: what is in Redis may be of a stream that lost it, and is overwritten. Otherwise the first notice
    of a sequence stays, and the newest of a reader or member.
    """

    def __init__(self, bus: Bus, database: Database, clock: Callable[[], float] = wall_clock.now_s) -> None:
        """`clock`: Unix seconds."""
        self._bus = bus
        self._database = database
        self._clock = clock
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    async def notice(self, sequence: int, subject: str, stored: StoredNotice) -> None:
        """A message of NOTICES."""
        await self.notices([(sequence, subject, stored)])

    async def notices(
        self, messages: Sequence[Message], *, anew: bool = False, takes_back: bool = True
    ) -> list[Delivery]:
        """Messages of NOTICES, in their order. What is in inboxes by them; also what they take back, unless
        all that they may take back is applied after them."""
        deliveries, taken_back = [], []
        for sequence, subject, stored in messages:
            if is_cancellation(subject):
                self.remember_cancelled(subject)
                taken_back.append(name_of(subject))
                continue
            is_cancelled = not is_firing(subject) and name_of(subject) in self._cancelled
            found = delivery(sequence, subject, stored, cancelled=is_cancelled)
            if found is not None:
                deliveries.append(found)
        await self._put(deliveries, anew=anew)
        if takes_back:
            for name in taken_back:
                deliveries += await self._take_back(name)
        return deliveries

    def remember_cancelled(self, subject: str) -> None:
        """Of a notice's cancellation."""
        name = name_of(subject)
        self._cancelled[name] = None
        self._cancelled.move_to_end(name)
        if len(self._cancelled) > CANCELLED_KNOWN_MAX:
            self._cancelled.popitem(last=False)

    async def reader(self, actor_id: str, sequence: int, reader: Reader, *, anew: bool = False) -> None:
        """A message of READERS."""
        arguments = (sequence, reader.SerializeToString(), _READER_LIFE_MS, _flag(anew))
        await self._database.run(inbox_scripts.READER, [layout.reader_key(actor_id)], arguments)

    async def segment(
        self, actor_id: str, segment: str, sequence: int, *, belongs: bool, anew: bool = False
    ) -> None:
        """A message of SEGMENTS."""
        member, field = _flag(belongs), f"segment:{segment}"
        most, key = bounds.SEGMENTS_PER_ACTOR_MAX, layout.reader_key(actor_id)
        arguments = (field, sequence, member, most, _READER_LIFE_MS, _flag(anew))
        if await self._database.run(inbox_scripts.SEGMENT, [key], arguments):
            actor = actors.encode(actor_id)
            count = await self._listed(layout.segment_key(segment), actor, belongs=belongs)
            await self._listed(layout.SEGMENTS, segment, belongs=count > 0)

    async def _listed(self, key: str, name: str, *, belongs: bool) -> int:
        return int(await self._database.run(inbox_scripts.LISTED, [key], (name, _flag(belongs))))

    async def _take_back(self, name: str) -> list[Delivery]:
        marked = []
        for filtered in subjects.notice_shown(name):
            async for pulled, _ in walk(self._bus, subjects.NOTICES_STREAM, [filtered]):
                found = (delivery(*message, cancelled=True) for message in decoded(pulled))
                markers = [each for each in found if each is not None and self._lives(each)]
                await self._put(markers)
                marked += markers
        return marked

    def _lives(self, each: Delivery) -> bool:
        return expires_s(each.stored) > self._clock()

    async def _put(self, deliveries: Sequence[Delivery], *, anew: bool = False) -> None:
        """What is for one key in one call, and PUT_TOGETHER_MAX inboxes at a time."""
        puts: dict[tuple[str, bool], _Put] = {}
        for each in deliveries:
            encoded, until_s = each.stored.SerializeToString(), expires_s(each.stored)
            overwrites = anew or each.stored.cancelled
            if each.crowd:
                at = (layout.crowd_key(each.crowd), overwrites)
                puts.setdefault(at, _Put(bounds.CROWD_MAX)).add(each.sequence, encoded, until_s)
            for actor_id in each.actors:
                at = (layout.inbox_key(actor_id), overwrites)
                puts.setdefault(at, _Put(bounds.INBOX_OWN_MAX)).add(each.sequence, encoded, until_s)
            if len(puts) >= PUT_TOGETHER_MAX:
                await self._run(puts)
                puts = {}
        await self._run(puts)

    async def _run(self, puts: dict[tuple[str, bool], _Put]) -> None:
        now_s = self._clock()
        await asyncio.gather(
            *(
                self._database.run(inbox_scripts.PUT, [key], put.arguments(now_s, overwrites=overwrites))
                for (key, overwrites), put in puts.items()
            )
        )


class _Put:
    """What is put into one key."""

    __slots__ = ("fields", "most", "until_s")

    def __init__(self, most: int) -> None:
        self.most = most
        self.until_s = 0.0
        self.fields: list[int | bytes] = []

    def add(self, sequence: int, encoded: bytes, until_s: float) -> None:
        self.fields += (sequence, encoded)
        self.until_s = max(self.until_s, until_s)

    def arguments(self, now_s: float, *, overwrites: bool) -> list[int | str | bytes]:
        life_ms = int((self.until_s - now_s) * 1000)
        return [self.most, life_ms, _flag(overwrites), *self.fields]


def decoded(pulled: Iterable[Pulled]) -> Iterator[Message]:
    """Messages of NOTICES, without those that do not decode."""
    for each in pulled:
        try:
            yield each.sequence, each.subject, StoredNotice.FromString(each.data)
        except DecodeError:
            log.warning("message %d of NOTICES does not decode and is passed over", each.sequence)


def _flag(value: bool) -> str:
    return "1" if value else ""
