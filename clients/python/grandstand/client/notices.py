"""Notices: what a game's own backend tells people, and what an actor's inbox holds. Calls of NotifyService.

Sending takes a token with the role owner, on the mesh listener; to segments and to everyone one with the role
operator. An actor reads and acknowledges with its own token, at the edge too. Every call may be repeated: a
notice has a key, under which it reaches nobody twice. See `unary` for what is tried again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import grpc.aio

from grandstand.client.credentials import Token, call_metadata
from grandstand.client.errors import ClientError
from grandstand.client.unary import Retried
from grandstand.notify.v1 import notify_pb2 as notify
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub

ACTORS_PER_MESSAGE = 1_900
"""A message of SendNoticeToActors may have 256 KiB, and an actor id 128 bytes."""
ACTORS_PER_CHANGE = 1_000
PAGE_SIZE = 100
SEGMENT_PAGE_SIZE = 1_000
LIST_ATTEMPT_S = 60.0
"""For a list of actors, which is stored in many steps."""


class Notices:
    """Calls over one channel; each waits at most `patience_s` for a mesh that is away."""

    def __init__(
        self, channel: grpc.aio.Channel, *, token: Token | None = None, patience_s: float = 10.0
    ) -> None:
        self._notify: Any = NotifyServiceStub(channel)
        self._retried = Retried(token, patience_s)
        self._token = token

    async def send(self, notice: notify.Notice) -> notify.SendNoticeResponse:
        response: notify.SendNoticeResponse = await self._retried.call(
            self._notify.SendNotice, notify.SendNoticeRequest(notice=notice)
        )
        return response

    async def send_to_actors(
        self, notice: notify.Notice, actor_ids: Sequence[str]
    ) -> notify.SendNoticeToActorsResponse:
        """`notice` without an audience, to all of a list of up to 100,000."""
        response: notify.SendNoticeToActorsResponse = await self._retried.attempt(
            lambda metadata: self._notify.SendNoticeToActors(
                _in_messages(notice, actor_ids), timeout=LIST_ATTEMPT_S, metadata=metadata
            ),
            LIST_ATTEMPT_S,
        )
        return response

    async def cancel(self, game_id: str, key: str) -> None:
        """What is scheduled is not sent any more; inboxes show it no longer."""
        await self._retried.call(
            self._notify.CancelNotice, notify.CancelNoticeRequest(game_id=game_id, key=key)
        )

    async def tail(self, game_id: str = "") -> AsyncIterator[notify.TailNoticesResponse]:
        """What is stored from now on, of one game or of all that the token opens; at most once. Raises
        ClientError when the stream ends."""
        stream = self._notify.TailNotices(
            notify.TailNoticesRequest(game_id=game_id), metadata=call_metadata(self._token)
        )
        try:
            async for message in stream:
                yield message
        except grpc.aio.AioRpcError as error:
            raise ClientError(error.code(), error.details() or "no details") from None

    async def inbox(
        self, game_id: str = "", *, page_size: int = 0, page_token: str = "", after: str = ""
    ) -> notify.ListInboxResponse:
        """A page of the token's actor's inbox, newest first."""
        request = notify.ListInboxRequest(
            game_id=game_id, page_size=page_size, page_token=page_token, after=after
        )
        response: notify.ListInboxResponse = await self._retried.call(self._notify.ListInbox, request)
        return response

    async def acknowledge(self, notification_ids: Sequence[str] = (), *, up_to: str = "") -> int:
        """How many are unread then."""
        request = notify.AcknowledgeNoticesRequest(notification_ids=notification_ids, up_to=up_to)
        response: notify.AcknowledgeNoticesResponse = await self._retried.call(
            self._notify.AcknowledgeNotices, request
        )
        return response.unread

    async def preferences(self) -> notify.Preferences:
        response: notify.GetPreferencesResponse = await self._retried.call(
            self._notify.GetPreferences, notify.GetPreferencesRequest()
        )
        return response.preferences

    async def set_preferences(self, preferences: notify.Preferences) -> notify.Preferences:
        """Replaces them as a whole."""
        response: notify.SetPreferencesResponse = await self._retried.call(
            self._notify.SetPreferences, notify.SetPreferencesRequest(preferences=preferences)
        )
        return response.preferences

    async def change_segment(self, segment: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Any number of actors, ACTORS_PER_CHANGE a call: when it fails, some have been changed."""
        for actors, field in ((add, "add"), (remove, "remove")):
            for at in range(0, len(actors), ACTORS_PER_CHANGE):
                request = notify.ChangeSegmentRequest(segment=segment)
                getattr(request, field).extend(actors[at : at + ACTORS_PER_CHANGE])
                await self._retried.call(self._notify.ChangeSegment, request)

    async def segments(self) -> AsyncIterator[notify.Segment]:
        """By name."""
        request = notify.ListSegmentsRequest(page_size=PAGE_SIZE)
        while True:
            page: notify.ListSegmentsResponse = await self._retried.call(self._notify.ListSegments, request)
            for segment in page.segments:
                yield segment
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def segment_actors(self, segment: str) -> AsyncIterator[str]:
        request = notify.ListSegmentActorsRequest(segment=segment, page_size=SEGMENT_PAGE_SIZE)
        while True:
            page: notify.ListSegmentActorsResponse = await self._retried.call(
                self._notify.ListSegmentActors, request
            )
            for actor_id in page.actor_ids:
                yield actor_id
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_segment(self, segment: str) -> None:
        """Takes everybody out of it."""
        await self._retried.call(self._notify.DeleteSegment, notify.DeleteSegmentRequest(segment=segment))


def _in_messages(
    notice: notify.Notice, actor_ids: Sequence[str]
) -> Iterator[notify.SendNoticeToActorsRequest]:
    """At least one message; the last one says that it is."""
    for at in range(0, max(1, len(actor_ids)), ACTORS_PER_MESSAGE):
        end = at + ACTORS_PER_MESSAGE
        yield notify.SendNoticeToActorsRequest(
            notice=notice if at == 0 else None,
            actor_ids=actor_ids[at:end],
            actors=len(actor_ids) if end >= len(actor_ids) else 0,
        )
