"""Writes into Redis what the streams say. Applied again, late, or by two at once, it comes to the same.

A notice that was taken back is overwritten by a marker, which stays as long as the notice would have: so
applying the notice again brings it back nowhere. Names of notices that were taken back are remembered, for
what is applied to a key that was lost, and for an occurrence that fell due at the same time.

Bounds: CANCELLED_KNOWN_MAX names, the oldest goes; a call writes to PUT_TOGETHER_MAX inboxes, as Redis does
nothing else meanwhile; how many messages are applied at once is the caller's to bound.
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
        self._cancelled: OrderedDict[str, float] = OrderedDict()
        """Until when the key of each is kept for it, Unix seconds."""

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
                self.remember_cancelled(subject, stored)
                taken_back.append(name_of(subject))
                continue
            found = delivery(sequence, subject, stored, cancelled=self._is_cancelled(subject, stored))
            if found is not None:
                deliveries.append(found)
        await self._put(deliveries, anew=anew)
        if takes_back:
            for name in taken_back:
                deliveries += await self._take_back(name)
        return deliveries

    def remember_cancelled(self, subject: str, stored: StoredNotice) -> None:
        """A notice's cancellation."""
        name = name_of(subject)
        self._cancelled[name] = expires_s(stored) + bounds.KEPT_AFTER_EXPIRY_S
        self._cancelled.move_to_end(name)
        if len(self._cancelled) > CANCELLED_KNOWN_MAX:
            self._cancelled.popitem(last=False)

    def _is_cancelled(self, subject: str, stored: StoredNotice) -> bool:
        """What is sent later than its key was kept is another notice under the same key."""
        until_s = 0.0 if is_firing(subject) else self._cancelled.get(name_of(subject), 0.0)
        return stored.sent_at.seconds < until_s

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
        """What is for one key at once, and what is for many keys in few calls."""
        puts: dict[tuple[str, bool], list[Delivery]] = {}
        for each in deliveries:
            overwrites = anew or each.stored.cancelled
            keys = [layout.inbox_key(actor_id) for actor_id in each.actors]
            if each.crowd:
                keys.append(layout.crowd_key(each.crowd))
            for key in keys:
                puts.setdefault((key, overwrites), []).append(each)
        alike: dict[tuple[bool, tuple[int, ...]], tuple[list[str], list[Delivery]]] = {}
        for (key, overwrites), held in puts.items():
            at = (overwrites, tuple(each.sequence for each in held))
            alike.setdefault(at, ([], held))[0].append(key)
        call = _Call()
        calls = [call]
        together = 1 if await self._database.is_cluster() else PUT_TOGETHER_MAX
        for (overwrites, _), (keys, held) in alike.items():
            arguments = self._arguments(held, overwrites=overwrites)
            at_key = 0
            while at_key < len(keys):
                if len(call.keys) == together:
                    call = _Call()
                    calls.append(call)
                some = keys[at_key : at_key + together - len(call.keys)]
                call.keys += some
                call.arguments += (len(some), *arguments)
                at_key += len(some)
        await asyncio.gather(
            *(self._database.run(inbox_scripts.PUT, each.keys, each.arguments) for each in calls if each.keys)
        )

    def _arguments(self, held: Sequence[Delivery], *, overwrites: bool) -> list[int | str | bytes]:
        most = bounds.CROWD_MAX if held[0].crowd else bounds.INBOX_OWN_MAX
        life_ms = int((max(expires_s(each.stored) for each in held) - self._clock()) * 1000)
        arguments: list[int | str | bytes] = [most, life_ms, _flag(overwrites), len(held)]
        for each in held:
            arguments += (each.sequence, each.stored.SerializeToString())
        return arguments


class _Call:
    __slots__ = ("arguments", "keys")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.arguments: list[int | str | bytes] = []


def decoded(pulled: Iterable[Pulled]) -> Iterator[Message]:
    """Messages of NOTICES, without those that do not decode."""
    for each in pulled:
        try:
            yield each.sequence, each.subject, StoredNotice.FromString(each.data)
        except DecodeError:
            log.warning("message %d of NOTICES does not decode and is passed over", each.sequence)


def _flag(value: bool) -> str:
    return "1" if value else ""
