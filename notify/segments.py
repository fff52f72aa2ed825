"""Named sets of actors: changed in the stream SEGMENTS, listed from what Redis has of it.

A change is a message for each actor, of which the newest says whether the actor belongs to the segment. It is
answered when all of them are stored and in Redis, so that what is asked next knows of it.

A segment is there while somebody belongs to it.

Bounds: SEGMENT_CHANGES_MAX actors a call, of which SEGMENT_WRITES_AT_ONCE are written at a time;
SEGMENTS_PER_ACTOR_MAX segments an actor.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.wire import actors, ids
from grandstand.wire.errors import Exhausted, Invalid, Unavailable, Unknown, shown
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices.bounds import SEGMENTS_PER_ACTOR_MAX
from mesh.notices.store import NoticeStore
from mesh.notices.stored import StreamPosition
from mesh.redis import layout
from mesh.redis.database import Database, Script
from notify.bounds import (
    SEGMENT_ACTORS_PAGE_MAX,
    SEGMENT_CHANGES_MAX,
    SEGMENT_WRITES_AT_ONCE,
    SEGMENTS_PAGE_DEFAULT,
    SEGMENTS_PAGE_MAX,
)
from notify.completeness import Completeness
from notify.stream_log import StreamLog

_FULL = (
    "the stream SEGMENTS is full: there is no room for more members; take others out, or let the operator "
    "widen it"
)
_DELETE_FOR_S = 7.0
_STREAM = (subjects.SEGMENTS_STREAM,)
_SEGMENT = b"segment:"
"""Begins the fields of a reader's hash that say which segments the actor belongs to (mesh.redis.layout)."""

# KEYS: a sorted set whose scores are all 0. ARGV: after which member, and how many.
_PAGE = Script("""
local from = '-'
if ARGV[1] ~= '' then from = '(' .. ARGV[1] end
return redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[2])
""")
_COUNT = Script("return redis.call('ZCARD', KEYS[1])")


class SegmentApplier(Protocol):
    """The part of the keeper's Applier that is used here."""

    async def segment(self, actor_id: str, segment: str, sequence: int, *, belongs: bool) -> None: ...


class Segments:
    def __init__(
        self, bus: Bus, database: Database, applier: SegmentApplier, completeness: Completeness
    ) -> None:
        self._log = StreamLog(bus, subjects.SEGMENTS_STREAM, _FULL)
        self._database = database
        self._store = NoticeStore(database)
        self._applier = applier
        self._completeness = completeness
        self._writes = asyncio.Semaphore(SEGMENT_WRITES_AT_ONCE)

    async def change(self, segment: str, add: Sequence[str], remove: Sequence[str]) -> None:
        """Raises Invalid, Exhausted, Unavailable, RedisError."""
        ids.check_id("segment", segment)
        count = len(add) + len(remove)
        if not 1 <= count <= SEGMENT_CHANGES_MAX:
            raise Invalid(
                f"add, remove: have {count} actors; 1 to {SEGMENT_CHANGES_MAX} are allowed in a call, both "
                "together"
            )
        for field, named in (("add", add), ("remove", remove)):
            for at, actor_id in enumerate(named):
                actors.check_actor(f"{field}[{at}]", actor_id)
        joining, leaving = dict.fromkeys(add), dict.fromkeys(remove)
        if both := joining.keys() & leaving.keys():
            raise Invalid(f"remove: {shown(min(both))} is in add, too; name each actor in one of both")
        await asyncio.gather(*(self._check_room(actor_id, segment) for actor_id in joining))
        await self._write(segment, joining, is_member=True)
        await self._write(segment, leaving, is_member=False)

    async def check_known(self, field: str, segment: str) -> None:
        """Raises Unknown, Unavailable, RedisError."""
        if await self._size(segment):
            return
        # What Redis has may be behind the stream.
        newest = await self._log.newest(subjects.segment_members(segment))
        applied = (await self._store.applied()).get(subjects.SEGMENTS_STREAM, StreamPosition())
        if newest.sequence > applied.sequence:
            raise Unavailable(f"{field}: segment {shown(segment)} is being read again; try again")
        if await self._size(segment):  # applied meanwhile
            return
        raise Unknown(f"{field}: there is no segment {shown(segment)}; make it with ChangeSegment")

    async def list_segments(self, request: pb.ListSegmentsRequest) -> pb.ListSegmentsResponse:
        """Raises Invalid, Unavailable, RedisError."""
        wanted = _page_size(request.page_size, SEGMENTS_PAGE_MAX)
        if request.page_token:
            ids.check_id("page_token", request.page_token)
        async with self._whole():
            names = await self._page(layout.SEGMENTS, request.page_token, wanted)
            sizes = await asyncio.gather(*map(self._size, names))
        segments = [pb.Segment(segment=name, actors=size) for name, size in zip(names, sizes, strict=True)]
        return pb.ListSegmentsResponse(
            segments=segments, next_page_token=names[-1] if len(names) == wanted else ""
        )

    async def list_actors(self, request: pb.ListSegmentActorsRequest) -> pb.ListSegmentActorsResponse:
        """Raises Invalid, Unknown, Unavailable, RedisError."""
        segment = ids.check_id("segment", request.segment)
        wanted = _page_size(request.page_size, SEGMENT_ACTORS_PAGE_MAX)
        after = request.page_token
        if after:
            try:
                actors.decode(after)
            except Invalid:
                raise Invalid(
                    f"page_token: {shown(after)} is not one of this service; leave it empty to begin again"
                ) from None
        async with self._whole():
            found = await self._page(layout.segment_key(segment), after, wanted)
        if not found and not after:
            await self.check_known("segment", segment)
        return pb.ListSegmentActorsResponse(
            actor_ids=map(actors.decode, found), next_page_token=found[-1] if len(found) == wanted else ""
        )

    async def delete(self, segment: str) -> None:
        """Raises Invalid, Unknown, Exhausted, Unavailable (some are left), RedisError."""
        ids.check_id("segment", segment)
        await self.check_known("segment", segment)
        give_up_s = time.monotonic() + _DELETE_FOR_S
        async with self._whole():
            while members := await self._page(layout.segment_key(segment), "", SEGMENT_CHANGES_MAX):
                if time.monotonic() > give_up_s:
                    left = await self._size(segment)
                    raise Unavailable(f"segment: {left} actors of {shown(segment)} are left; delete it again")
                await self._write(segment, map(actors.decode, members), is_member=False)

    @contextlib.asynccontextmanager
    async def _whole(self) -> AsyncIterator[None]:
        """What is read within is all that the stream has, and no part of it. Raises Unavailable."""
        await self._completeness.check(await self._store.applied(), _STREAM)
        yield
        await self._completeness.check(await self._store.applied(), _STREAM)

    async def _write(self, segment: str, changed: Collection[str] | map[str], *, is_member: bool) -> None:
        async def write(actor_id: str) -> None:
            async with self._writes:
                subject = subjects.segment_member(segment, actor_id)
                kept = await self._log.put(subject, b"1" if is_member else b"", last=None)
                await self._applier.segment(actor_id, segment, kept.sequence, belongs=is_member)

        await asyncio.gather(*map(write, changed))

    async def _check_room(self, actor_id: str, segment: str) -> None:
        async with self._writes:
            fields = await self._database.hash(layout.reader_key(actor_id))
        member_of = {
            name.removeprefix(_SEGMENT).decode()
            for name, sequence in fields.items()
            if name.startswith(_SEGMENT) and not sequence.startswith(b"-")
        }
        if len(member_of - {segment}) >= SEGMENTS_PER_ACTOR_MAX:
            raise Exhausted(
                f"add: {shown(actor_id)} belongs to {len(member_of)} segments; at most "
                f"{SEGMENTS_PER_ACTOR_MAX} are allowed, take it out of another one first"
            )

    async def _page(self, key: str, after: str, most: int) -> list[str]:
        return [member.decode() for member in await self._database.run(_PAGE, [key], [after, most])]

    async def _size(self, segment: str) -> int:
        return int(await self._database.run(_COUNT, [layout.segment_key(segment)]))


def _page_size(asked: int, most: int) -> int:
    if asked > most:
        raise Invalid(f"page_size: is {asked}; at most {most} is allowed, 0 means {SEGMENTS_PAGE_DEFAULT}")
    return asked or SEGMENTS_PAGE_DEFAULT
