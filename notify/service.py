"""NotifyService: who may call what (mesh.auth.access), and thin shells around the parts that do it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Container
from typing import Any

import grpc

from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceServicer
from grandstand.wire import ids
from grandstand.wire.errors import Forbidden, Invalid, Unavailable, shown
from mesh.auth.access import Access, Caller
from mesh.auth.audit import tell
from mesh.notices.bounds import READ_MARKS_MAX
from mesh.redis.database import RedisError
from mesh.runtime import answering
from notify import orders
from notify.bounds import GUEST_MARKS_MAX
from notify.orders import order_of
from notify.readers import Readers
from notify.segments import Segments
from notify.sending import Sender, next_message
from notify.tails import Queue, Tails

Context = grpc.aio.ServicerContext[Any, Any]

_TAIL_LOOK_S = 0.5
"""How soon a tail ends whose token did, and when the server drains."""


class NotifyService(NotifyServiceServicer):
    def __init__(
        self,
        sender: Sender,
        readers: Readers,
        segments: Segments,
        tails: Tails,
        access: Access,
        draining: asyncio.Event,
    ) -> None:
        self._sender = sender
        self._readers = readers
        self._segments = segments
        self._tails = tails
        self._access = access
        self._draining = draining

    async def SendNotice(self, request: pb.SendNoticeRequest, context: Context) -> pb.SendNoticeResponse:
        async with _answering(context):
            by = self._may_send(context, request.notice)
            order = order_of(request.notice)
            response = await self._sender.send(order)
            tell("sent" if order.plan is None else "scheduled", _said(order.notice), by)
            return response

    async def SendNoticeToActors(
        self, request_iterator: AsyncIterator[pb.SendNoticeToActorsRequest], context: Context
    ) -> pb.SendNoticeToActorsResponse:
        async with _answering(context):
            first = await next_message(request_iterator)
            if first is None or not first.HasField("notice"):
                raise Invalid("notice: is missing; the first message of the stream has it")
            by = self._may_send(context, first.notice)
            order = order_of(first.notice, is_list=True)
            response = await self._sender.send_list(order, first, request_iterator)
            done = "sent" if order.plan is None else "scheduled"
            tell(done, f"{_said(order.notice)} to {response.actors} actors", by)
            return response

    async def CancelNotice(
        self, request: pb.CancelNoticeRequest, context: Context
    ) -> pb.CancelNoticeResponse:
        async with _answering(context):
            by = self._may_send_about(context, "game_id", request.game_id)
            await self._sender.cancel(request.game_id, request.key)
            tell("cancelled", f"notice {shown(request.key)} of {orders.of_game(request.game_id)}", by)
            return pb.CancelNoticeResponse()

    async def TailNotices(
        self, request: pb.TailNoticesRequest, context: Context
    ) -> AsyncIterator[pb.TailNoticesResponse]:
        async with _answering(context):
            game_id = request.game_id
            identity = self._access.any_owner(context)
            if game_id:
                self._access.owner(context, "game_id", ids.check_id("game_id", game_id))
            opens: Container[str] | None = identity.games
            if opens is None and not identity.operator:
                opens = _EVERY_GAME
            async with self._tails.opened(game_id, opens) as told:
                while not self._draining.is_set():
                    self._access.any_owner(context)
                    for each in await _told(told):
                        yield each
            raise Unavailable("the server ends; call again")

    async def ListInbox(self, request: pb.ListInboxRequest, context: Context) -> pb.ListInboxResponse:
        async with _answering(context):
            identity = self._access.actor(context)
            for field in ("game_id", "watched_game_id"):
                if game_id := getattr(request, field):
                    identity.check_game(field, game_id)
            return await self._readers.list_inbox(identity.actor_id, request)

    async def AcknowledgeNotices(
        self, request: pb.AcknowledgeNoticesRequest, context: Context
    ) -> pb.AcknowledgeNoticesResponse:
        async with _answering(context):
            identity = self._access.actor(context)
            marks_max = GUEST_MARKS_MAX if identity.guest else READ_MARKS_MAX
            unread = await self._readers.acknowledge(identity.actor_id, request, marks_max)
            return pb.AcknowledgeNoticesResponse(unread=unread)

    async def GetPreferences(
        self, request: pb.GetPreferencesRequest, context: Context
    ) -> pb.GetPreferencesResponse:
        async with _answering(context):
            identity = self._access.actor(context)
            return pb.GetPreferencesResponse(preferences=await self._readers.preferences(identity.actor_id))

    async def SetPreferences(
        self, request: pb.SetPreferencesRequest, context: Context
    ) -> pb.SetPreferencesResponse:
        async with _answering(context):
            identity = self._access.actor(context)
            if identity.guest:
                raise Forbidden("token: is a guest's, and guests have no preferences; get one of an actor")
            stored = await self._readers.set_preferences(identity.actor_id, request.preferences)
            return pb.SetPreferencesResponse(preferences=stored)

    async def ChangeSegment(
        self, request: pb.ChangeSegmentRequest, context: Context
    ) -> pb.ChangeSegmentResponse:
        async with _answering(context):
            by = self._access.operator_of_all(context)
            await self._segments.change(request.segment, request.add, request.remove)
            said = f"segment {request.segment}: {len(request.add)} in, {len(request.remove)} out,"
            tell("changed", said, by)
            return pb.ChangeSegmentResponse()

    async def ListSegments(
        self, request: pb.ListSegmentsRequest, context: Context
    ) -> pb.ListSegmentsResponse:
        async with _answering(context):
            self._access.operator_of_all(context)
            return await self._segments.list_segments(request)

    async def ListSegmentActors(
        self, request: pb.ListSegmentActorsRequest, context: Context
    ) -> pb.ListSegmentActorsResponse:
        async with _answering(context):
            self._access.operator_of_all(context)
            return await self._segments.list_actors(request)

    async def DeleteSegment(
        self, request: pb.DeleteSegmentRequest, context: Context
    ) -> pb.DeleteSegmentResponse:
        async with _answering(context):
            by = self._access.operator_of_all(context)
            await self._segments.delete(request.segment)
            tell("deleted", f"segment {request.segment}", by)
            return pb.DeleteSegmentResponse()

    def _may_send(self, context: Context, notice: pb.Notice) -> Caller:
        """Raises Unauthenticated, Unavailable, Forbidden."""
        by = self._may_send_about(context, "notice.game_id", notice.game_id)
        if notice.audience.WhichOneof("to") in ("segment", "everyone"):
            return self._access.operator_of_all(context)
        return by

    def _may_send_about(self, context: Context, field: str, game_id: str) -> Caller:
        return (
            self._access.owner(context, field, game_id) if game_id else self._access.operator_of_all(context)
        )


async def _told(queue: Queue) -> list[pb.TailNoticesResponse]:
    """What waits; none after _TAIL_LOOK_S."""
    try:
        async with asyncio.timeout(_TAIL_LOOK_S):
            found = [await queue.get()]
    except TimeoutError:
        return []
    while not queue.empty():
        found.append(queue.get_nowait())
    return found


class _EveryGame:
    """What a token opens that names no games: all of them, but not what is about none."""

    def __contains__(self, game_id: object) -> bool:
        return bool(game_id)


_EVERY_GAME = _EveryGame()


@contextlib.asynccontextmanager
async def _answering(context: Context) -> AsyncIterator[None]:
    async with answering(context):
        try:
            yield
        except RedisError as error:
            raise Unavailable(f"inboxes cannot be read now ({type(error).__name__}); try again") from None


def _said(notice: pb.Notice) -> str:
    """For the log; what a sender wrote is quoted."""
    said = f"notice {shown(notice.key)} of {orders.of_game(notice.game_id)}, code {notice.code},"
    audience = notice.audience
    match audience.WhichOneof("to"):
        case "actor_id":
            return f"{said} to {shown(audience.actor_id)}"
        case "segment":
            return f"{said} to segment {audience.segment}"
        case "viewers" | "everyone" as crowd:
            return f"{said} to {crowd}"
    return said
