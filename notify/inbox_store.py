"""Stores actors' inboxes in Redis and pushes them to the gateways over NATS.

An inbox is read, changed, and stored by compare-and-set, so concurrent deliveries lose nothing: one of them
is retried. It is pushed after it is stored. A lost push only costs time, as gateways reload the inboxes they
show periodically.

A delivery may be repeated if it is unknown whether it took effect: notifications are deduplicated by id.
"""

from __future__ import annotations

from collections.abc import Callable

from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import Notification
from grandstand.wire.errors import Unavailable, shown
from mesh import wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import Database, Script
from notify.inbox import check, with_notification

_TRIES = 16

# KEYS: inbox. ARGV: the expected value, the new value.
_REPLACE = Script("""
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")


class InboxStore:
    def __init__(self, bus: Bus, database: Database, clock: Callable[[], float] = wall_clock.now_s) -> None:
        """`clock`: Unix seconds."""
        self._bus = bus
        self._database = database
        self._clock = clock

    async def deliver(self, actor_id: str, notification: Notification) -> None:
        """Returns once the notification is stored. Raises Invalid; RedisError; Unavailable if concurrent
        deliveries win _TRIES times."""
        check(notification)
        key = layout.inbox_key(actor_id)
        for _ in range(_TRIES):
            before = await self._database.string(key)
            inbox = with_notification(Inbox.FromString(before), notification, int(self._clock() * 1e6))
            if inbox is None:
                return await self._push(actor_id, before)
            after = inbox.SerializeToString()
            if await self._database.run(_REPLACE, [key], [before, after]):
                return await self._push(actor_id, after)
        raise Unavailable(
            f"the inbox of {shown(actor_id)} changed {_TRIES} times meanwhile; deliver it again"
        )

    async def _push(self, actor_id: str, encoded: bytes) -> None:
        try:
            await self._bus.client.publish(subjects.inbox(actor_id), encoded)
        except NatsError:
            return  # it is stored: gateways read it from Redis
