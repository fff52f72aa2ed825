"""Notices as notify keeps them in Redis and pushes them, without its streams."""

from __future__ import annotations

import time

from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange, Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import Audience, Notice
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import crowds
from mesh.redis import layout
from mesh.redis.database import Database, Script

_PUT = Script("return redis.call('HSET', KEYS[1], unpack(ARGV))")


class StoredNotices:
    """`is_pushed=False`: a push that is lost."""

    def __init__(self, bus: Bus, database: Database, stream: str = "") -> None:
        """`stream`: the identity of all three streams; "": it is not said how far they are applied, which is
        notify's to say where it runs."""
        self._bus = bus
        self._database = database
        self._stream = stream
        self.sequence = 0
        """Of NOTICES, as far as it is applied."""
        self._readers = 0
        self._segments = 0

    def notice(
        self, title: str, audience: Audience, game_id: str = "", expires_in_s: float = 600.0
    ) -> StoredNotice:
        now_ns = time.time_ns()
        notice = Notice(code="test", title=title, game_id=game_id, audience=audience)
        stored = StoredNotice(notice=notice)
        stored.sent_at.FromNanoseconds(now_ns)
        stored.due_at.FromNanoseconds(now_ns)
        stored.expires_at.FromNanoseconds(now_ns + int(expires_in_s * 1e9))
        return stored

    async def tell(
        self, actor_id: str, title: str, *, is_pushed: bool = True, expires_in_s: float = 600.0
    ) -> None:
        stored = self.notice(title, Audience(actor_id=actor_id), expires_in_s=expires_in_s)
        self.sequence += 1
        await self._put(layout.inbox_key(actor_id), str(self.sequence), stored.SerializeToString())
        await self.applied()
        if is_pushed:
            await self._change(actor_id, InboxChange(sequences=[self.sequence], notices=[stored]))

    async def tell_everyone(self, title: str, *, is_pushed: bool = True) -> None:
        await self._to_crowd(crowds.EVERYONE, self.notice(title, Audience(everyone=True)), is_pushed)

    async def tell_viewers(
        self, game_id: str, title: str, *, is_pushed: bool = True, generation: int = 0
    ) -> None:
        stored = self.notice(title, Audience(viewers=True), game_id)
        stored.generation = generation
        await self._to_crowd(crowds.game(game_id), stored, is_pushed)

    async def tell_segment(self, name: str, title: str, *, is_pushed: bool = True) -> None:
        await self._to_crowd(crowds.segment(name), self.notice(title, Audience(segment=name)), is_pushed)

    async def read(self, actor_id: str, reader: Reader, *, is_pushed: bool = True) -> None:
        self._readers += 1
        key = layout.reader_key(actor_id)
        await self._put(key, "reader", reader.SerializeToString(), "sequence", str(self._readers))
        await self.applied()
        if is_pushed:
            await self._change(actor_id, InboxChange(reader=reader, reader_sequence=self._readers))

    async def join(self, actor_id: str, segment: str, *, is_member: bool = True) -> None:
        self._segments += 1
        sign = "" if is_member else "-"
        await self._put(layout.reader_key(actor_id), f"segment:{segment}", f"{sign}{self._segments}")
        await self.applied()
        await self._change(actor_id, InboxChange(segments=True))

    async def applied(self) -> None:
        if not self._stream:
            return
        sequences = {"NOTICES": self.sequence, "READERS": self._readers, "SEGMENTS": self._segments}
        fields = [field for name, at in sequences.items() for field in (name, f"{self._stream} {at}")]
        await self._put(layout.NOTICES_APPLIED[0], *fields)

    async def _to_crowd(self, name: str, stored: StoredNotice, is_pushed: bool) -> None:
        self.sequence += 1
        await self._put(layout.crowd_key(name), str(self.sequence), stored.SerializeToString())
        await self.applied()
        if is_pushed:
            pushed = CrowdNotice(sequence=self.sequence, stored=stored)
            await self._bus.client.publish(subjects.crowd(name), pushed.SerializeToString())

    async def _change(self, actor_id: str, change: InboxChange) -> None:
        await self._bus.client.publish(subjects.inbox(actor_id), change.SerializeToString())

    async def _put(self, key: str, *fields: str | bytes) -> None:
        await self._database.run(_PUT, [key], fields)
