"""Actors' inboxes: pushed by notify over NATS, loaded from Redis, sent to the viewers who watch them.

An inbox is subscribed to before it is loaded, so that no update is missed in between; a push that is lost
later is healed by loading again in turn. gateway.inbox_plan decides which inbox is loaded when.

Bounds: those of the plan; an inbox held is a NATS subscription (some 5 KiB) and at most INBOX_NEWEST_MAX
notifications of NOTIFICATION_BYTES_MAX. One batch is under way at a time.

Rejected: one subscription for all inboxes (every gateway would read everybody's notifications).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from gateway.inbox_plan import InboxPlan
from gateway.own_inbox import OwnInbox
from gateway.wake_loop import WakeLoop
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.wire import actors
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import Database, RedisError, Script

log = logging.getLogger(__name__)

_FLUSH_S = 2
_LOADED_TOGETHER = 64
# KEYS: any.
_MANY = Script("return redis.call('MGET', unpack(KEYS))")

Offer = Callable[[TopicState, int], None]
"""Takes a state and its version, which grows."""


class _WatchedInbox:
    """An inbox that is held. `watchers`: the minimum version that each must be shown."""

    __slots__ = ("actor_id", "own", "subscription", "watchers")

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id
        self.own = OwnInbox()
        self.subscription: Subscription | None = None
        self.watchers: dict[Offer, int] = {}

    def tell(self) -> None:
        state, version = self.own.state, self.own.version
        if state is not None:
            for offer, at_least in list(self.watchers.items()):
                if version >= at_least:
                    offer(state, version)


class WatchedInboxes:
    def __init__(self, bus: Bus, database: Database, plan: InboxPlan | None = None) -> None:
        self._bus = bus
        self._database = database
        self._plan = plan or InboxPlan()
        self._held: dict[str, _WatchedInbox] = {}
        self._wake_loop = WakeLoop(self._step, self._plan.next_at_s)
        self._is_away = False
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many are held, watched or not."""
        return len(self._held)

    def start(self) -> None:
        self._wake_loop.start()

    async def stop(self) -> None:
        await self._wake_loop.stop()
        await self._leave(list(self._held))

    def watch(self, actor_id: str, at_least: int, offer: Offer) -> None:
        """`offer` is called with each state of at least that version; at once, if one is known."""
        self._plan.watch(actor_id)
        held = self._held.get(actor_id)
        if held is None:
            held = self._held[actor_id] = _WatchedInbox(actor_id)
        held.watchers[offer] = at_least
        held.tell()
        self._wake_loop.nudge()

    def unwatch(self, actor_id: str, offer: Offer) -> None:
        del self._held[actor_id].watchers[offer]
        self._plan.unwatch(actor_id, self._loop.time())
        self._wake_loop.nudge()

    async def _step(self) -> bool:
        await self._leave(self._plan.let_go(self._loop.time()))
        batch = self._plan.take(self._loop.time())
        actor_ids = [*batch.new, *batch.again]
        if actor_ids:
            await self._listen(actor_ids)
            await self._load(actor_ids)
        return bool(actor_ids)

    async def _listen(self, actor_ids: Sequence[str]) -> None:
        """Unless they are. While NATS is away, its client keeps subscriptions for when it is back."""
        missing = [held for actor_id in actor_ids if (held := self._held[actor_id]).subscription is None]
        if missing:
            with contextlib.suppress(NatsError, TimeoutError):
                for held in missing:
                    subject = subjects.inbox(held.actor_id)
                    held.subscription = await self._bus.client.subscribe(subject, cb=self._on_inbox)
                await self._bus.client.flush(_FLUSH_S)

    async def _leave(self, actor_ids: Sequence[str]) -> None:
        for held in [self._held.pop(actor_id) for actor_id in actor_ids]:
            if held.subscription is not None:
                with contextlib.suppress(NatsError):
                    await held.subscription.unsubscribe()

    async def _on_inbox(self, message: Msg) -> None:
        self._take(message.subject.partition(".")[2], message.data)

    async def _load(self, actor_ids: Sequence[str]) -> None:
        try:
            for at in range(0, len(actor_ids), _LOADED_TOGETHER):
                some = actor_ids[at : at + _LOADED_TOGETHER]
                for actor_id, encoded in zip(some, await self._stored(some), strict=True):
                    self._take(actor_id, encoded)
        except RedisError as error:
            if not self._is_away:
                self._is_away = True
                log.warning("inboxes are not loaded: %s; it is tried again", error)
        else:
            if self._is_away:
                self._is_away = False
                log.info("inboxes are loaded again")

    async def _stored(self, actor_ids: Sequence[str]) -> list[bytes]:
        keys = [layout.inbox_key(actor_id) for actor_id in actor_ids]
        if await self._database.is_cluster():
            return list(await asyncio.gather(*map(self._database.string, keys)))
        return [value or b"" for value in await self._database.run(_MANY, keys)]

    def _take(self, actor_id: str, encoded: bytes) -> None:
        held = self._held.get(actor_id)
        if held is None:
            return
        try:
            if held.own.take(encoded):
                held.tell()
        except DecodeError:
            log.warning("the inbox of %s cannot be read: %d bytes", actors.said(actor_id), len(encoded))
