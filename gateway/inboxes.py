"""Actors' inboxes: pushed by notify over NATS, loaded from Redis, sent to the viewers who watch them.

A notice to one actor is pushed on that actor's subject, one to a crowd (everyone, a game's viewers, a
segment) once for the whole gateway (gateway.crowd_pushes): each inbox that is shown and concerned is made
again from it (gateway.inbox_view). A gateway subscribes to an inbox before it loads it, so that nothing is
missed in between; a push that is lost later is healed by loading again in turn. gateway.inbox_plan decides
what is loaded when, gateway.change_times says what changes by itself.

Bounds: those of the plans; an inbox held is a NATS subscription (some 5 KiB) and the notices of
gateway.known_notices; a crowd's are held once. One batch is under way at a time. Inboxes to be recreated are
a set, each in it once.

Rejected: one subscription for all inboxes (every gateway would read everybody's notifications).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from gateway import bounds
from gateway.change_times import ChangeTimes
from gateway.crowd_pushes import CrowdPushes
from gateway.inbox_plan import InboxPlan
from gateway.inbox_view import InboxLooks, InboxView, Seen
from gateway.known_notices import KnownNotices
from gateway.own_inbox import OwnInbox
from gateway.wake_loop import WakeLoop
from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange
from grandstand.wire import actors
from mesh import wall_clock
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import crowds
from mesh.notices.bounds import CROWD_MAX
from mesh.notices.store import NoticeStore
from mesh.notices.stored import StreamPosition
from mesh.redis.database import Database, RedisError

log = logging.getLogger(__name__)

_FLUSH_S = 2
_LOADED_TOGETHER = 64
_NOTHING = StreamPosition()

Offer = Callable[[bytes, int], None]
"""Takes an encoded TopicState and its version, which grows."""
OnCrowdNotice = Callable[[str, CrowdNotice], None]
"""Takes a crowd's name and what was pushed to it, whether an inbox shows it or not."""


class _HeldInbox:
    """An actor's. `views`: by game."""

    __slots__ = ("actor_id", "own", "subscription", "views")

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id
        self.own = OwnInbox()
        self.subscription: Subscription | None = None
        self.views: dict[str, _HeldView] = {}


class _HeldView:
    """As the viewers of one game see it. `waiting`: those who have seen more of it elsewhere, and what."""

    __slots__ = ("crowds", "game_id", "inbox", "view", "waiting", "watchers")

    def __init__(self, inbox: _HeldInbox, game_id: str) -> None:
        self.inbox = inbox
        self.game_id = game_id
        self.view = InboxView(inbox.own)
        self.crowds: frozenset[str] = frozenset()
        self.watchers: dict[Offer, None] = {}
        self.waiting: dict[Offer, Seen] = {}

    def wanted_crowds(self) -> frozenset[str]:
        segments = map(crowds.segment, self.inbox.own.segments)
        return frozenset((crowds.EVERYONE, crowds.game(self.game_id), *segments))

    def tell(self) -> None:
        view = self.view
        if view.state is None:
            return
        for offer in [each for each, seen in self.waiting.items() if view.includes(seen)]:
            del self.waiting[offer]
            self.watchers[offer] = None
        for offer in list(self.watchers):
            offer(view.state, view.version)


class _HeldCrowd:
    """`views`: those that show it."""

    __slots__ = ("notices", "views")

    def __init__(self) -> None:
        self.notices = KnownNotices(CROWD_MAX)
        self.views: dict[_HeldView, None] = {}


class WatchedInboxes:
    def __init__(
        self,
        bus: Bus,
        database: Database,
        plan: InboxPlan | None = None,
        now: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`now`: Unix seconds."""
        self.on_crowd_notice: OnCrowdNotice = lambda _, __: None
        self._bus = bus
        self._store = NoticeStore(database)
        self._now = now
        self._plan = plan or InboxPlan()
        self._crowd_plan = InboxPlan(
            lingering_max=bounds.CROWDS_LINGERING_MAX, new_max=bounds.CROWD_BATCH_NEW_MAX
        )
        self._looks = InboxLooks()
        self._held: dict[str, _HeldInbox] = {}
        self._crowds: dict[str, _HeldCrowd] = {}
        self._times: ChangeTimes[_HeldView] = ChangeTimes()
        self._stale: dict[_HeldView, None] = {}
        """Views to be recreated, in this order."""
        self._looking: asyncio.Handle | None = None
        self._waiting: dict[_HeldView, None] = {}
        """Views that somebody waits for."""
        self._pushes = CrowdPushes(bus, self._on_crowd)
        self._wake_loop = WakeLoop(self._step, self._next_at_s)
        self._is_away = False
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many are held, watched or not."""
        return len(self._held)

    def start(self) -> None:
        self._bus.on_reconnect(self._on_reconnect)
        self._wake_loop.start()

    async def stop(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._on_reconnect)
        await self._wake_loop.stop()
        if self._looking is not None:
            self._looking.cancel()
        await self._leave(list(self._held))
        await self._pushes.stop()

    def watch(self, actor_id: str, game_id: str, seen: Seen, offer: Offer, generation: int = 0) -> None:
        """`offer` is called with each state that includes `seen`; at once, if there is one. `generation`: the
        game's, 0 if it is not known: what an earlier game of its id told its viewers is not shown."""
        self._plan.watch(actor_id)
        inbox = self._held.get(actor_id)
        if inbox is None:
            inbox = self._held[actor_id] = _HeldInbox(actor_id)
        held = inbox.views.get(game_id)
        if held is None:
            for left in [each for each in inbox.views.values() if not each.watchers and not each.waiting]:
                self._drop(left)
            held = inbox.views[game_id] = _HeldView(inbox, game_id)
            self._follow_crowds(held)
        crowd = self._crowds[crowds.game(game_id)]
        if crowd.notices.begin(generation):
            self._changed(crowd.views)
        held.waiting[offer] = seen
        self._waiting[held] = None
        self._tell_waiting([held])
        self._wake_loop.nudge()

    def unwatch(self, actor_id: str, game_id: str, offer: Offer) -> None:
        held = self._held[actor_id].views[game_id]
        held.watchers.pop(offer, None)
        held.waiting.pop(offer, None)
        if not held.waiting:
            self._waiting.pop(held, None)
        self._plan.unwatch(actor_id, self._loop.time())
        self._wake_loop.nudge()

    def show(self, game_id: str) -> None:
        """The game has viewers, who are told of its notices without an inbox, too; `hide` as often."""
        self._pushes.want(crowds.game(game_id))
        self._wake_loop.nudge()

    def hide(self, game_id: str) -> None:
        self._pushes.leave(crowds.game(game_id))
        self._wake_loop.nudge()

    # What is held.

    def _follow_crowds(self, held: _HeldView) -> None:
        """Those that the view shows now, as the actor's segments are."""
        wanted = held.wanted_crowds()
        for name in held.crowds - wanted:
            self._leave_crowd(held, name)
        for name in sorted(wanted - held.crowds):
            self._crowd_plan.watch(name)
            if name not in self._crowds:
                self._crowds[name] = _HeldCrowd()
                self._pushes.want(name)
            self._crowds[name].views[held] = None
        held.crowds = wanted
        held.view.crowds = [self._crowds[name].notices for name in sorted(wanted)]

    def _leave_crowd(self, held: _HeldView, name: str) -> None:
        del self._crowds[name].views[held]
        self._crowd_plan.unwatch(name, self._loop.time())

    def _drop(self, held: _HeldView) -> None:
        for name in held.crowds:
            self._leave_crowd(held, name)
        self._times.put(held, None)
        self._stale.pop(held, None)
        self._waiting.pop(held, None)
        del held.inbox.views[held.game_id]

    async def _leave(self, actor_ids: Sequence[str]) -> None:
        for inbox in [self._held.pop(actor_id) for actor_id in actor_ids]:
            for held in list(inbox.views.values()):
                self._drop(held)
            if inbox.subscription is not None:
                await _unsubscribe(inbox.subscription)

    def _tell_waiting(self, views: Iterable[_HeldView]) -> None:
        """Shows them what they have seen, if it is known by now; else it is loaded before its turn."""
        for held in views:
            known = held.view.known()
            if any(known.covers(seen) for seen in held.waiting.values()):
                self._make_anew(held)
            if not held.waiting:
                self._waiting.pop(held, None)
            elif held.view.state is not None:
                self._plan.want(held.inbox.actor_id)
                for name in held.crowds:
                    self._crowd_plan.want(name)

    # What is shown.

    def _changed(self, views: Iterable[_HeldView]) -> None:
        """They are recreated, INBOXES_AT_ONCE at a time: what else the gateway does is not held up."""
        self._stale.update(dict.fromkeys(views))
        if self._stale and self._looking is None:
            self._looking = self._loop.call_soon(self._look)

    def _make_anew(self, held: _HeldView) -> None:
        self._stale.pop(held, None)
        if held.view.look(self._looks, self._now()) or held.waiting:
            held.tell()
        self._times.put(held, held.view.changes_at_s)

    def _look(self) -> None:
        for held in list(islice(self._stale, bounds.INBOXES_AT_ONCE)):
            self._make_anew(held)
        self._looking = self._loop.call_soon(self._look) if self._stale else None
        if not self._stale:
            self._wake_loop.nudge()

    def _next_at_s(self) -> float | None:
        at_s = [self._plan.next_at_s(), self._crowd_plan.next_at_s()]
        if self._pushes.is_behind:
            at_s.append(float("-inf"))
        changes_at_s = self._times.next_at_s()
        if changes_at_s is not None:
            at_s.append(self._loop.time() + changes_at_s - self._now())
        return min((each for each in at_s if each is not None), default=None)

    # What comes in.

    async def _step(self) -> bool:
        now_s = self._loop.time()
        self._changed(self._times.take(self._now()))
        await self._leave(self._plan.let_go(now_s))
        for name in self._crowd_plan.let_go(now_s):
            del self._crowds[name]
            self._pushes.leave(name)
        batch, crowd_batch = self._plan.take(now_s), self._crowd_plan.take(now_s)
        actor_ids, names = [*batch.new, *batch.again], [*crowd_batch.new, *crowd_batch.again]
        if actor_ids or names or self._pushes.is_behind:
            await self._listen(actor_ids)
        if actor_ids or names:
            await self._load(actor_ids, names)
        return bool(actor_ids or names)

    async def _listen(self, actor_ids: Sequence[str]) -> None:
        """Unless they are. While NATS is away, its client keeps subscriptions for when it is back."""
        missing = [held for actor_id in actor_ids if (held := self._held[actor_id]).subscription is None]
        if not missing and not self._pushes.is_behind:
            return
        client = self._bus.client
        with contextlib.suppress(NatsError, TimeoutError):
            await self._pushes.settle()
            for held in missing:
                subject = subjects.inbox(held.actor_id)
                held.subscription = await client.subscribe(subject, cb=self._on_inbox)
            await client.flush(_FLUSH_S)

    def _on_reconnect(self) -> None:
        """What was pushed meanwhile is lost: crowds, which are few, are loaded at once, inboxes in turn."""
        for name in self._crowds:
            self._crowd_plan.want(name)
        self._wake_loop.nudge()

    def _on_crowd(self, name: str, pushed: CrowdNotice) -> None:
        held = self._crowds.get(name)
        if held is not None and held.notices.put(pushed.sequence, pushed.stored):
            self._changed(held.views)
        self.on_crowd_notice(name, pushed)

    async def _on_inbox(self, message: Msg) -> None:
        actor_id = actors.decode(message.subject.partition(".")[2])
        inbox = self._held.get(actor_id)
        if inbox is None:
            return
        try:
            change = InboxChange.FromString(message.data)
        except DecodeError:
            log.warning(
                "a change of the inbox of %s cannot be read: %d bytes",
                *(actor_id, len(message.data)),
                extra={"actor": actor_id},
            )
            return
        if change.segments:
            self._plan.want(actor_id)
            self._wake_loop.nudge()
        if inbox.own.take(change):
            self._changed(inbox.views.values())

    async def _load(self, actor_ids: Sequence[str], names: Sequence[str]) -> None:
        try:
            for at in range(0, max(len(actor_ids), 1), _LOADED_TOGETHER):
                await self._load_some(actor_ids[at : at + _LOADED_TOGETHER], names if at == 0 else ())
        except RedisError as error:
            if not self._is_away:
                self._is_away = True
                log.warning("inboxes are not loaded: %s; it is tried again", error)
        else:
            if self._is_away:
                self._is_away = False
                log.info("inboxes are loaded again")

    async def _load_some(self, actor_ids: Sequence[str], names: Sequence[str]) -> None:
        applied = await self._store.applied()
        found = await self._store.load_crowds(names) if names else {}
        for name, notices in found.items():
            crowd = self._crowds[name]
            if crowd.notices.load(notices, applied.get(subjects.NOTICES_STREAM, _NOTHING)):
                self._changed(crowd.views)
        stored = await self._store.load(actor_ids) if actor_ids else []
        for actor_id, inbox_stored in zip(actor_ids, stored, strict=True):
            inbox = self._held[actor_id]
            is_news = inbox.own.load(inbox_stored, applied)
            for held in inbox.views.values():
                if held.crowds != held.wanted_crowds():
                    self._follow_crowds(held)
            if is_news:
                self._changed(inbox.views.values())
        loaded = (held for actor_id in actor_ids for held in self._held[actor_id].views.values())
        self._tell_waiting([held for held in (self._waiting if names else loaded) if held.waiting])


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(NatsError):
        await subscription.unsubscribe()
