"""What the event stream and its neighbours hold, read for explanations and audits.

Each call reads in batches (mesh.jetstream.walk) and gives way to others between two. All raise NatsError,
TimeoutError.
"""

from __future__ import annotations

import asyncio
import base64
import io
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from nats.js.errors import NotFoundError, ObjectDeletedError, ObjectNotFoundError

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import Checkpoint, DeadLetter, PurgeMarker
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pulled
from mesh.jetstream.walk import walk

_OBJECTS = f"OBJ_{subjects.CHECKPOINTS_BUCKET}"
_NAMES = f"$O.{subjects.CHECKPOINTS_BUCKET}.M."


@dataclass(frozen=True, slots=True)
class Extent:
    """Of one partition."""

    first: int = 0
    """The sequence of its first block; 0 without one."""
    last: int = 0
    purged_up_to: int = 0
    """Blocks below are purged, or about to be; 0: none is."""
    stream: str = ""
    """The identity of the event stream."""


class StreamReader:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def definitions(self, game_id: str) -> tuple[Game | None, list[Poll | Board]]:
        """Of a game, its polls and boards, as the catalog has them."""
        values: dict[str, bytes] = {}
        walked = walk(self._bus, subjects.CATALOG_STREAM, subjects.catalog_entries_of(game_id))
        async with aclosing(walked) as batches:
            async for batch, _ in batches:
                values |= {each.subject.split(".", 2)[2]: each.data for each in batch}
        game = values.pop(subjects.game_key(game_id), b"")
        topics = [
            Poll.FromString(value) if key.startswith("poll.") else Board.FromString(value)
            for key, value in values.items()
            if value
        ]
        return (Game.FromString(game) if game else None), [each for each in topics if each.stage]

    async def extent(self, partition: int) -> Extent:
        subject = subjects.events(partition)
        info = await self._bus.js.stream_info(subjects.EVENTS_STREAM)
        assert info.created is not None
        stream = info.created.isoformat()
        purged = 0
        try:
            marker = await self._bus.js.get_last_msg(subjects.EVENTS_STREAM, subjects.purged(partition))
            said = PurgeMarker.FromString(marker.data or b"")
            purged = said.up_to if said.stream in ("", stream) else 0
        except (NotFoundError, DecodeError):
            pass
        try:
            first = await self._bus.js.get_msg(subjects.EVENTS_STREAM, seq=1, subject=subject, next=True)
            last = await self._bus.js.get_last_msg(subjects.EVENTS_STREAM, subject)
        except NotFoundError:
            return Extent(purged_up_to=purged, stream=stream)
        return Extent(max(first.seq or 0, purged), last.seq or 0, purged, stream)

    async def first_since(self, partition: int, extent: Extent, at_s: float) -> int:
        """The partition's first block, or one shortly before it, that was stored at `at_s` (Unix seconds) or
        later: by bisection, some twenty requests."""
        low, high = extent.first, extent.last
        while high - low > 1:
            middle = (low + high) // 2
            found = await self._bus.js.get_msg(
                subjects.EVENTS_STREAM, seq=middle, subject=subjects.events(partition), next=True
            )
            if found.time is None or found.time.timestamp() >= at_s:
                high = middle
            else:
                low = max(middle, found.seq or 0)
        return low

    async def blocks(
        self, partition: int, start: int, last: int
    ) -> AsyncGenerator[tuple[Sequence[Pulled], int], None]:
        """The partition's blocks from `start` up to `last`, and how many are to come. Close it, if it is left
        early."""
        async with aclosing(
            walk(self._bus, subjects.EVENTS_STREAM, [subjects.events(partition)], start)
        ) as batches:
            async for batch, left in batches:
                wanted = [each for each in batch if each.sequence <= last]
                yield wanted, left
                if len(wanted) < len(batch) or wanted[-1].sequence == last:
                    return

    async def letters(self, partition: int, since: int) -> dict[int, list[str]]:
        """The reasons of the partition's dead letters, by the sequence of the block, from `since` on."""
        try:
            await self._bus.js.stream_info(subjects.DEAD_LETTERS_STREAM)
        except NotFoundError:
            return {}
        found: dict[int, list[str]] = {}
        walked = walk(self._bus, subjects.DEAD_LETTERS_STREAM, [subjects.dead_letters(partition)])
        async with aclosing(walked) as batches:
            async for batch, _ in batches:
                for each in batch:
                    letter = DeadLetter.FromString(each.data)
                    if letter.sequence >= since:
                        found.setdefault(letter.sequence, []).append(letter.reason)
        return found

    async def checkpoint(
        self, partition: int, extent: Extent, *, upto: int | None = None
    ) -> Checkpoint | None:
        """The partition's oldest checkpoint that holds all that is purged; None without one that can be read.
        `upto`: of no later sequence."""
        try:
            info = await self._bus.js.stream_info(_OBJECTS, subjects_filter=f"{_NAMES}>")
            bucket = await self._bus.js.object_store(subjects.CHECKPOINTS_BUCKET)
        except NotFoundError:
            return None
        prefix = subjects.checkpoints(partition, extent.stream)
        names = (base64.urlsafe_b64decode(s.removeprefix(_NAMES)).decode() for s in info.state.subjects or {})
        for name in sorted(name for name in names if name.startswith(prefix)):
            applied = int(name.removeprefix(prefix))
            if applied < extent.purged_up_to or (upto is not None and applied > upto):
                continue
            into = io.BytesIO()
            try:
                await bucket.get(name, writeinto=into)
                return await asyncio.to_thread(_unpacked, into.getvalue())
            except (zlib.error, DecodeError, ObjectNotFoundError, ObjectDeletedError):
                continue
        return None


def _unpacked(data: bytes) -> Checkpoint:
    return Checkpoint.FromString(zlib.decompress(data))
