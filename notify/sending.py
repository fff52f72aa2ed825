"""Sends notices and takes them back: the shell of notify.orders.

A call is answered once JetStream has stored what it asks for, each message under a subject of its own and
only if that has none yet:

    at once      notices.sent.<name>
    a list       notices.sent.<name>, which takes the key; then its parts, notices.sent.<name>.<part>
    scheduled    the same; and at last notices.scheduled.<name>, by which the scheduler knows of it: what is
                 incomplete is never due. It is written again by a call that is repeated
    taken back   notices.cancelled.<name>

So a call may end anywhere and be made again, at any instance: what is stored is passed over, and the first
answer is given. What only the time refuses (a schedule that is past by now, a game that is gone) is
therefore asked last: a repeated call is answered whatever the time.

Bound: a message and a part of a list are held; LISTS_MAX lists at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.wire.errors import Exhausted, GrandstandError, Invalid, TooLate, Unknown, shown
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices.inbox import notification_id
from notify import orders
from notify.bounds import LIST_LASTS_S, LIST_SILENCE_S, LISTS_MAX, SCHEDULED_MAX
from notify.orders import Order, Parts
from notify.quotas import Quotas
from notify.stream_log import Kept, StreamLog

NOTICES_FULL = (
    "the stream NOTICES is full: there is no room for more notices until older ones expire; try again later, "
    "or let the operator widen it"
)


Messages = AsyncIterator[pb.SendNoticeToActorsRequest]


class KnowsSegments(Protocol):
    async def check_known(self, field: str, segment: str) -> None:
        """Raises Unknown."""
        ...


class Sender:
    """`scheduled`: how many schedules are not over, as far as is known here. `now_s`: Unix seconds."""

    def __init__(
        self,
        bus: Bus,
        catalog: CatalogWatch,
        segments: KnowsSegments,
        scheduled: Callable[[], int],
        quotas: Quotas,
        now_s: Callable[[], float],
    ) -> None:
        self._quotas = quotas
        self._log = StreamLog(bus, subjects.NOTICES_STREAM, NOTICES_FULL)
        self._catalog = catalog
        self._segments = segments
        self._scheduled = scheduled
        self._now_s = now_s
        self._lists = 0
        self.stored = {"call": 0, "list": 0, "cancellation": 0}
        """Calls that were answered, whether or not they were repeated."""

    async def send(self, order: Order) -> pb.SendNoticeResponse:
        """Raises Invalid, Unknown, AlreadyDone, Exhausted, Unavailable."""
        kept = await self._take_key(order)
        stored = StoredNotice.FromString(kept.data)
        if order.plan is not None:
            await self._schedule(order, stored)
        self.stored["call"] += 1
        return pb.SendNoticeResponse(
            notification_id="" if order.plan else notification_id(kept.sequence),
            due_at=stored.due_at,
            repeated_call=not kept.is_new,
        )

    async def send_list(
        self, order: Order, first: pb.SendNoticeToActorsRequest, messages: Messages
    ) -> pb.SendNoticeToActorsResponse:
        """`first`: the message that `order` is of. Raises as `send`; TooLate."""
        if self._lists >= LISTS_MAX:
            raise Exhausted(f"{LISTS_MAX} lists are sent to this server at once, which is all; try again")
        self._lists += 1
        try:
            async with asyncio.timeout(LIST_LASTS_S):
                return await self._send_list(order, first, messages)
        except TimeoutError:
            raise TooLate(
                f"the list lasted for {LIST_LASTS_S:g} s, which is all that one may; send all of it again, "
                "faster, under the same key"
            ) from None
        finally:
            self._lists -= 1

    async def _send_list(
        self, order: Order, message: pb.SendNoticeToActorsRequest, messages: Messages
    ) -> pb.SendNoticeToActorsResponse:
        parts, head = Parts(), StoredNotice()

        async def store(part: orders.Part) -> None:
            if not part.number:
                head.CopyFrom(StoredNotice.FromString((await self._take_key(order)).data))
            subject = subjects.notice_part(order.name, part.number)
            kept = await self._put(subject, part.stored(head))
            if not kept.is_new:
                orders.check_same_part(part, StoredNotice.FromString(kept.data), order.notice.key)

        # That the stream ends says nothing: grpc.aio ends one that its client broke off like any other.
        while True:
            for part in parts.add(message.actor_ids):
                await store(part)
            following = await next_message(messages)
            if following is None:
                break
            if message.actors:
                raise Invalid(
                    f"actors: is {message.actors} in a message that is not the last; leave it unset"
                )
            if following.HasField("notice"):
                raise Invalid("notice: is given again; only the first message has one")
            message = following
        await store(parts.end(message.actors))
        if order.plan is not None:
            await self._schedule(order, head)
        self.stored["list"] += 1
        return pb.SendNoticeToActorsResponse(actors=parts.actors, due_at=head.due_at)

    async def cancel(self, game_id: str, key: str) -> None:
        """Raises Unknown, Exhausted, Unavailable."""
        name = subjects.notice_name(game_id, key)
        sent = await self._log.newest(subjects.notice_sent(name))
        if not sent.sequence:
            raise Unknown(f"key: nothing was sent as {shown(key)} of {orders.of_game(game_id)}")
        before = StoredNotice.FromString(sent.data)
        stored = orders.cancellation(before.notice, before.expires_at.ToNanoseconds(), self._now_ns())
        await self._log.put(subjects.notice_cancelled(name), stored.SerializeToString())
        self.stored["cancellation"] += 1

    async def _take_key(self, order: Order) -> Kept:
        """What is stored under the order's key, which is what it asks for."""
        now_ns = self._now_ns()  # one for both: what is scheduled is due after it was sent
        if (refusal := await self._refusal(order, now_ns)) is None:
            kept = await self._put(order.subject, order.stored(now_ns, self._generation(order)))
        else:
            kept = await self._log.newest(order.subject)
            if not kept.sequence:
                raise refusal
        if not kept.is_new:
            order.check_same(StoredNotice.FromString(kept.data), self._generation(order))
        return kept

    async def _put(self, subject: str, stored: StoredNotice) -> Kept:
        """Unless the game has no more room, and it is not stored yet."""
        game_id = stored.notice.game_id
        try:
            self._quotas.check("notice.game_id", game_id)
        except Exhausted:
            kept = await self._log.newest(subject)
            if not kept.sequence:
                raise
            return kept
        kept = await self._log.put(subject, stored.SerializeToString())
        if kept.is_new:
            self._quotas.add(game_id, subject, stored)
        return kept

    def _generation(self, order: Order) -> int:
        """Of the game to whose viewers it goes; 0: it goes to others, or the game is not known."""
        if not order.notice.audience.viewers:
            return 0
        return self._catalog.view.generation(order.notice.game_id)

    async def _refusal(self, order: Order, now_ns: int) -> GrandstandError | None:
        """Why it may not be sent now for the first time."""
        try:
            await self._check_now(order, now_ns)
        except (Invalid, Unknown, Exhausted) as error:
            return error
        return None

    async def _check_now(self, order: Order, now_ns: int) -> None:
        notice = order.notice
        if order.plan is not None:
            order.plan.check(now_ns)
            if self._scheduled() >= SCHEDULED_MAX:
                raise Exhausted(
                    f"schedule: {SCHEDULED_MAX} notices are scheduled, which is all; cancel some, or wait "
                    "until they are over"
                )
        if notice.game_id:
            key = subjects.game_key(notice.game_id)
            if key not in self._catalog.view:
                await self._catalog.refresh_shared(key)
            self._catalog.view.game(notice.game_id)
        if notice.audience.segment:
            await self._segments.check_known("notice.audience.segment", notice.audience.segment)

    async def _schedule(self, order: Order, stored: StoredNotice) -> None:
        entry = StoredNotice(notice=order.notice, generation=stored.generation)
        for field in ("sent_at", "due_at", "expires_at"):
            getattr(entry, field).CopyFrom(getattr(stored, field))
        await self._log.put(subjects.notice_scheduled(order.name), entry.SerializeToString())

    def _now_ns(self) -> int:
        return int(self._now_s() * 1e9)


async def next_message(messages: Messages) -> pb.SendNoticeToActorsRequest | None:
    """None: there are no more, or the client broke it off. Raises TooLate."""
    try:
        async with asyncio.timeout(LIST_SILENCE_S):
            with suppress(StopAsyncIteration):
                return await anext(messages)
            return None
    except TimeoutError:
        raise TooLate(
            f"the list was silent for {LIST_SILENCE_S:g} s; send all of it again, under the same key"
        ) from None
