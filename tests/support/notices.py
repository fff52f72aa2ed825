"""Notices as services store them in the streams, and a keeper beside real stores."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange, Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import Audience
from grandstand.wire import tasks
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices.store import NoticeStore
from mesh.notices.stored import StoredInbox
from mesh.notices.streams import ensure_streams
from mesh.redis.database import Database, RedisError
from notify.keeper import Keeper
from tests.support.servers import Stores, eventually

log = logging.getLogger(__name__)

DAY_S = 86_400.0


def stored_notice(
    audience: Audience | None = None,
    key: str = "k",
    *,
    game_id: str = "g",
    actor_ids: Iterable[str] = (),
    sent_s: float | None = None,
    due_in_s: float = 0.0,
    life_s: float = 7 * DAY_S,
) -> StoredNotice:
    sent_s = time.time() if sent_s is None else sent_s
    stored = StoredNotice(actor_ids=actor_ids, digest=b"d")
    stored.notice.key, stored.notice.game_id, stored.notice.title = key, game_id, f"title of {key}"
    stored.notice.code = "c"
    if audience is not None:
        stored.notice.audience.CopyFrom(audience)
    stored.sent_at.FromNanoseconds(int(sent_s * 1e9))
    stored.due_at.FromNanoseconds(int((sent_s + due_in_s) * 1e9))
    stored.expires_at.FromNanoseconds(int((sent_s + due_in_s + life_s) * 1e9))
    return stored


@dataclass
class Notices:
    """What notify writes, without notify."""

    bus: Bus
    database: Database
    store: NoticeStore

    async def put(self, subject: str, message: bytes) -> int:
        """Its sequence. Once, however often it takes."""
        headers = {"Nats-Msg-Id": uuid.uuid4().hex}

        async def stored() -> int:
            with contextlib.suppress(NatsError):
                ack = await self.bus.js.publish(subject, message, timeout=1, headers=dict(headers))
                return ack.seq or 0
            return 0

        return await eventually(stored, f"{subject} is stored")

    async def send(self, stored: StoredNotice, subject: str = "") -> int:
        subject = subject or subjects.notice_sent(
            subjects.notice_name(stored.notice.game_id, stored.notice.key)
        )
        return await self.put(subject, stored.SerializeToString())

    async def tell(self, actor_id: str, key: str, life_s: float = 7 * DAY_S) -> int:
        return await self.send(stored_notice(Audience(actor_id=actor_id), key, life_s=life_s))

    async def cancel(self, game_id: str, key: str) -> int:
        stored = stored_notice(key=key, game_id=game_id)
        stored.cancelled = True
        name = subjects.notice_name(game_id, key)
        return await self.send(stored, subjects.notice_cancelled(name))

    async def read(self, actor_id: str, reader: Reader) -> int:
        return await self.put(subjects.reader(actor_id), reader.SerializeToString())

    async def member(self, segment: str, actor_id: str, *, belongs: bool = True) -> int:
        return await self.put(subjects.segment_member(segment, actor_id), b"1" if belongs else b"")

    async def inbox(self, actor_id: str) -> StoredInbox:
        (inbox,) = await self.store.load([actor_id])
        return inbox

    async def titles(self, actor_id: str) -> list[str]:
        """Of what is in the inbox and was not taken back, oldest first."""
        own = (await self.inbox(actor_id)).own
        return [own[sequence].notice.title for sequence in sorted(own) if not own[sequence].cancelled]

    async def until_told(self, actor_id: str, *keys: str) -> None:
        wanted = [f"title of {key}" for key in keys]

        async def look() -> bool:
            return await self.titles(actor_id) == wanted

        await eventually(look, f"{actor_id} has {wanted}")

    async def until_applied(self) -> None:
        """That it is noted: all that is in the streams by now is in Redis."""
        ends = {name: await self.bus.stream_end(name) for name in ("NOTICES", "READERS", "SEGMENTS")}

        async def look() -> bool:
            try:
                applied = await self.store.applied()
            except RedisError as error:  # redis-py drops connections of a cluster that it has just met
                log.info("asked again: %s", error)
                return False
            return all(
                name in applied and applied[name].stream == identity and applied[name].sequence >= end
                for name, (identity, end) in ends.items()
                if end
            )

        await eventually(look, "all is applied")


class Pushes:
    """What gateways would hear."""

    def __init__(self) -> None:
        self.crowds: list[tuple[str, CrowdNotice]] = []
        self.inboxes: list[tuple[str, InboxChange]] = []

    async def listen(self, bus: Bus) -> None:
        await bus.client.subscribe("crowd.>", cb=self._on_crowd)
        await bus.client.subscribe("inbox.*", cb=self._on_inbox)
        await bus.client.flush()

    async def _on_crowd(self, message: Msg) -> None:
        self.crowds.append((message.subject, CrowdNotice.FromString(message.data)))

    async def _on_inbox(self, message: Msg) -> None:
        self.inboxes.append((message.subject, InboxChange.FromString(message.data)))


@contextlib.asynccontextmanager
async def notices_on(servers: Stores, redis_url: str = "") -> AsyncIterator[Notices]:
    bus, database = await Bus.connect(servers.nats_url, "test"), Database(redis_url or servers.redis_url)
    try:
        await ensure_streams(bus)
        yield Notices(bus, database, NoticeStore(database))
    finally:
        await bus.close()
        await database.aclose()


@contextlib.asynccontextmanager
async def keeping(
    servers: Stores, life: str = "one", redis_url: str = "", made: Callable[[str], Database] = Database
) -> AsyncIterator[Keeper]:
    """A keeper with connections of its own."""
    bus, database = await Bus.connect(servers.nats_url, life), made(redis_url or servers.redis_url)
    keeper = Keeper(bus, database, life)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        await tasks.end(task)
        await bus.close()
        await database.aclose()
