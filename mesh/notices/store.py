"""Inboxes, readers and crowds as Redis holds them. Derived from streams; the keeper of notify writes them.

Bound: an inbox has INBOX_OWN_MAX notices, a crowd CROWD_MAX, a reader READ_MARKS_MAX marks; how many are
loaded at once is the caller's to bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import Reader, StoredNotice
from mesh.notices.stored import StoredInbox, StreamPosition
from mesh.redis import layout
from mesh.redis.database import Database, Script

_SEGMENT = b"segment:"
_TOGETHER = 64
"""Inboxes: Redis does nothing else meanwhile."""

# KEYS: hashes. All of one moment; what is none is empty.
_LOAD = Script("""
local found = {}
for i, key in ipairs(KEYS) do
  local hash = redis.pcall('HGETALL', key)
  if hash.err then
    if not string.find(hash.err, 'WRONGTYPE', 1, true) then return hash end
    hash = {}
  end
  found[i] = hash
end
return found
""")


class NoticeStore:
    """All methods raise RedisError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, actor_ids: Sequence[str]) -> list[StoredInbox]:
        """The inbox of each, in their order; each of one moment. _TOGETHER in one call, or on a cluster one
        each at the same time."""
        together = 1 if await self._database.is_cluster() else _TOGETHER
        calls = []
        for at in range(0, len(actor_ids), together):
            some = actor_ids[at : at + together]
            calls.append(
                self._hashes([key(each) for each in some for key in (layout.inbox_key, layout.reader_key)])
            )
        hashes = [each for found in await asyncio.gather(*calls) for each in found]
        return [_inbox(inbox, reader) for inbox, reader in zip(hashes[::2], hashes[1::2], strict=True)]

    async def load_crowds(self, crowds: Collection[str]) -> dict[str, dict[int, StoredNotice]]:
        """The notices to each of these crowds (mesh.notices.crowds), by their sequence."""
        found = await asyncio.gather(*(self._hashes([layout.crowd_key(crowd)]) for crowd in crowds))
        return {crowd: _notices(hashes[0]) for crowd, hashes in zip(crowds, found, strict=True)}

    async def applied(self) -> dict[str, StreamPosition]:
        """How far each of the streams NOTICES, READERS, SEGMENTS is in Redis, at least. Of what is loaded
        after that, this is true too."""
        keys = await applied_keys(self._database)
        copies = [_applied(flat) for (flat,) in await asyncio.gather(*(self._hashes([key]) for key in keys))]
        return {
            name: min((copy[name] for copy in copies), key=lambda each: each.sequence)
            for name, known in copies[0].items()
            if all(name in copy and copy[name].stream == known.stream for copy in copies)
        }

    async def _hashes(self, keys: Sequence[str]) -> list[list[bytes]]:
        found: list[list[bytes]] = await self._database.run(_LOAD, keys)
        return found


async def applied_keys(database: Database) -> Sequence[str]:
    """Where it is noted how far the streams are applied. Raises RedisError."""
    return layout.NOTICES_APPLIED if await database.is_cluster() else layout.NOTICES_APPLIED[:1]


def _applied(flat: Sequence[bytes]) -> dict[str, StreamPosition]:
    found = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        stream, _, sequence = value.decode(errors="replace").rpartition(" ")
        if sequence.isdecimal():
            found[name.decode(errors="replace")] = StreamPosition(stream, int(sequence))
    return found


def _inbox(inbox: Sequence[bytes], reader: Sequence[bytes]) -> StoredInbox:
    marks, sequence, segments = Reader(), 0, set()
    for name, value in zip(reader[::2], reader[1::2], strict=True):
        if name == b"reader":
            marks = _reader(value)
        elif name == b"sequence":
            sequence = int(value)
        elif name.startswith(_SEGMENT) and not value.startswith(b"-"):
            segments.add(name[len(_SEGMENT) :].decode())
    return StoredInbox(_notices(inbox), marks, sequence, frozenset(segments))


def _notices(flat: Sequence[bytes]) -> dict[int, StoredNotice]:
    return dict(_decoded(zip(flat[::2], flat[1::2], strict=True)))


def _decoded(fields: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[int, StoredNotice]]:
    for name, value in fields:
        try:
            yield int(name), StoredNotice.FromString(value)
        except (ValueError, DecodeError):
            continue  # nobody of ours wrote it


def _reader(value: bytes) -> Reader:
    try:
        return Reader.FromString(value)
    except DecodeError:
        return Reader()
