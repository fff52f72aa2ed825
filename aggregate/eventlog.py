"""What the owner of a partition asks of the event stream: its leader answers, so nothing is of yesterday.

Purged blocks are told by a marker on `purged.<partition>`, in the stream itself: it is stored before they
go and is lost only with the stream. The block that the checkpoint is bound to stays.

    checkpoint stored ──▶ PurgeMarker stored ──▶ bound block is still there ──▶ blocks below it purged

The stream may lose its tail while the marker is on its way, and grow again: then the checkpoint is of blocks
that are no more. So the purge is asked for only after the bound block was seen there behind the marker, and a
marker whose block is another was never followed by a purge: `take_back` replaces it.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from typing import NamedTuple

from google.protobuf.message import DecodeError
from nats.js.api import Header, RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from aggregate.binding import is_same
from grandstand.internal.v1.internal_pb2 import BlockIdentity, PurgeMarker
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

_STREAM_FULL = 10077
_MORE_BYTES = 8 * 1024
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Purged(NamedTuple):
    """The newest purge marker of a partition."""

    sequence: int = 0
    """The marker's own; 0 without one."""
    up_to: int = 0
    stream: str = ""
    """Of which stream it speaks; empty: of the one that it is in."""
    before: int | None = None
    """The `up_to` of the marker before; None: an older release wrote this one."""

    def floor(self, stream: str) -> int:
        """Blocks of the partition in that stream below this are purged, or about to be; 0: none is."""
        return self.up_to if self.stream in ("", stream) else 0


class EventLog:
    """All methods raise NatsError, TimeoutError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def stream(self) -> tuple[str, int]:
        """The stream's identity, and its last sequence."""
        return await self._bus.events_stream()

    async def block(self, sequence: int) -> BlockIdentity | None:
        """The block at that sequence of the stream, None without one."""
        if not sequence:
            return None
        try:
            found = await self._bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
        except NotFoundError:
            return None
        assert found.time is not None
        return BlockIdentity(
            sequence=sequence,
            stored_at_us=(found.time - _EPOCH) // _MICROSECOND,
            digest=hashlib.blake2b(found.data or b"", digest_size=16).digest(),
        )

    async def first(self, partition: int) -> int:
        """The sequence of the partition's first block that is there, 0 without one."""
        subject = subjects.events(partition)
        try:
            found = await self._bus.js.get_msg(subjects.EVENTS_STREAM, seq=1, subject=subject, next=True)
        except NotFoundError:
            return 0
        return found.seq or 0

    async def last(self, partition: int) -> int:
        """The sequence of the partition's last block, 0 without one."""
        found = await self._last(subjects.events(partition))
        return 0 if found is None else found.seq or 0

    async def purged(self, partition: int) -> Purged:
        """What is purged of it, or about to be."""
        found = await self._last(subjects.purged(partition))
        if found is None:
            return Purged()
        sequence = found.seq or 0
        try:
            marker = PurgeMarker.FromString(found.data or b"")
        except DecodeError:
            log.error("partition %d: the marker of what is purged does not decode", partition)
            return Purged(sequence, sequence)
        before = marker.before if marker.HasField("before") else None
        return Purged(sequence, marker.up_to, marker.stream, before)

    async def can_purge(self, partition: int, up_to: int, floor: int) -> bool:
        """Whether a purge below `up_to` is still to be done: no marker says so yet, or the one that does was
        stored and the purge itself never arrived."""
        return up_to > floor or (up_to == floor and 0 < await self.first(partition) < up_to)

    async def purge(self, partition: int, bound: BlockIdentity, stream: str, after: Purged) -> bool:
        """Purges the partition's blocks of that stream below the one that a checkpoint is bound to, and says
        so first. `after`: the marker that is there, as it was seen before `stream` was. If there is another
        by now, nothing is done. Raises APIError then. False: the stream has lost the bound block meanwhile,
        and nothing is purged.

        Whatever of this comes so late that the stream was recreated takes nothing: no block of that one is
        below `up_to` (mesh.jetstream.bus.first_sequence), and the marker is of another stream."""
        up_to, floor = bound.sequence, after.floor(stream)
        before = floor if floor < up_to else after.before
        await self._say(PurgeMarker(partition=partition, up_to=up_to, stream=stream, before=before), after)
        if not is_same(bound, await self.block(up_to)):
            return False
        name = subjects.EVENTS_STREAM
        await self._bus.js.purge_stream(name, seq=up_to, subject=subjects.events(partition))
        await self._bus.js.purge_stream(name, keep=1, subject=subjects.purged(partition))
        return True

    async def take_back(self, partition: int, stream: str, after: Purged) -> None:
        """Says again what the marker before this one said. Raises APIError if there is another by now."""
        before = after.before
        await self._say(PurgeMarker(partition=partition, up_to=before, stream=stream, before=before), after)

    async def _say(self, marker: PurgeMarker, after: Purged) -> None:
        subject, payload = subjects.purged(marker.partition), marker.SerializeToString()

        async def say() -> None:
            headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(after.sequence)}
            await self._bus.js.publish(subject, payload, headers=headers)

        try:
            await say()
        except APIError as error:
            if error.err_code != _STREAM_FULL:
                raise
            # Full to the brim, and the marker must come before the purge that makes room.
            bytes_max = await self._bus.widen_events_stream(_MORE_BYTES)
            log.warning("the event stream is full: its bound is %d bytes now", bytes_max)
            await say()

    async def _last(self, subject: str) -> RawStreamMsg | None:
        try:
            return await self._bus.js.get_last_msg(subjects.EVENTS_STREAM, subject)
        except NotFoundError:
            return None
