"""What is stored in NOTICES from now on, told to who asks for it (TailNotices).

One consumer for all callers of this instance, while there are any. At most once: what is stored while the
consumer is opened again is not told, and of a caller that does not read the newest are dropped.

Bounds: TAILS_MAX callers, TAIL_WAITING_MAX messages for each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Container

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import TailNoticesResponse
from grandstand.wire import tasks
from grandstand.wire.errors import Exhausted, Unavailable
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered
from mesh.notices.inbox import entry_of
from notify.bounds import TAIL_WAITING_MAX, TAILS_MAX
from notify.reopening_consumer import ReopeningConsumer

Queue = asyncio.Queue[TailNoticesResponse]


def told_of(message: Delivered) -> TailNoticesResponse | None:
    """None: it is nobody's notice yet, or not any more. Pure."""
    kind = message.subject.split(".")[1]
    try:
        stored = StoredNotice.FromString(message.data)
    except DecodeError:
        return None
    if kind not in ("sent", "due", "fired") or not stored.HasField("notice"):
        return None
    is_head_of_list = not stored.notice.HasField("audience") and not stored.actor_ids
    is_scheduled = kind == "sent" and stored.notice.HasField("schedule")
    if is_scheduled or is_head_of_list:
        return None
    told = TailNoticesResponse(
        notification=entry_of(message.sequence, stored).notification, actors=len(stored.actor_ids)
    )
    if stored.notice.HasField("audience"):
        told.audience.CopyFrom(stored.notice.audience)
    if stored.HasField("firing"):
        told.firing.CopyFrom(stored.firing)
    return told


class Tails:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queues: dict[Queue, tuple[str, Container[str] | None]] = {}
        self._following: ReopeningConsumer | None = None
        self._running: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def opened(self, game_id: str, opens: Container[str] | None) -> AsyncIterator[Queue]:
        """Hears of that game, or for "" of those that the token opens; None: of all, and of what is about no
        game. Raises Exhausted, Unavailable."""
        if len(self._queues) >= TAILS_MAX:
            raise Exhausted(f"{TAILS_MAX} callers follow the notices of this server, which is all; try again")
        queue: Queue = asyncio.Queue(TAIL_WAITING_MAX)
        self._queues[queue] = (game_id, opens)
        try:
            await self._until_open()
            yield queue
        finally:
            del self._queues[queue]
            if not self._queues and self._running is not None:
                running, self._running = self._running, None
                await tasks.end(running)

    async def _until_open(self) -> None:
        if self._running is None or self._following is None:
            self._following = ReopeningConsumer(
                self._bus, subjects.NOTICES_STREAM, [subjects.NOTICES_ALL], self._hear, new_only=True
            )
            self._running = asyncio.create_task(self._following.run())
        try:
            async with asyncio.timeout(limits.PUBLISH_DEADLINE_S):
                await self._following.is_open.wait()
        except TimeoutError:
            raise Unavailable("the stream NOTICES does not answer; try again") from None

    def _hear(self, message: Delivered) -> None:
        told = told_of(message)
        if told is None:
            return
        about = told.notification.game_id
        for queue, (game_id, opens) in self._queues.items():
            wanted = about == game_id if game_id else opens is None or about in opens
            if wanted and not queue.full():
                queue.put_nowait(told)
