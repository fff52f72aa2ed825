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
    """Unary calls over one channel.

    Every call may be repeated, and is tried again for at most `patience_s` seconds while the mesh is away.
    Every call raises ClientError with the server's code, as those of Backend do. The docstrings name further
    codes.
    """

    def __init__(
        self, channel: grpc.aio.Channel, *, token: Token | None = None, patience_s: float = 10.0
    ) -> None:
        self._notify: Any = NotifyServiceStub(channel)
        self._retried = Retried(token, patience_s)
        self._token = token

    async def send(self, notice: notify.Notice) -> notify.SendNoticeResponse:
        """Sends a notice, or schedules it. The same notice under the same key reaches nobody twice.

        ALREADY_EXISTS: another notice was sent under this key. RESOURCE_EXHAUSTED: there is no room before
        older notices expire.
        """
        response: notify.SendNoticeResponse = await self._retried.call(
            self._notify.SendNotice, notify.SendNoticeRequest(notice=notice)
        )
        return response

    async def send_to_actors(
        self, notice: notify.Notice, actor_ids: Sequence[str]
    ) -> notify.SendNoticeToActorsResponse:
        """Sends `notice`, which names no audience, to each actor of a list of up to 100,000.

        When it fails, some actors may have been sent it: call it again with the same list and the same key.
        Nobody is told twice.
        """
        response: notify.SendNoticeToActorsResponse = await self._retried.attempt(
            lambda metadata: self._notify.SendNoticeToActors(
                _in_messages(notice, actor_ids), timeout=LIST_ATTEMPT_S, metadata=metadata
            ),
            LIST_ATTEMPT_S,
        )
        return response

    async def cancel(self, game_id: str, key: str) -> None:
        """Takes a notice back: it is not sent any more, and inboxes no longer show it. Cancelling it again
        does nothing. NOT_FOUND: nothing was sent under this key."""
        await self._retried.call(
            self._notify.CancelNotice, notify.CancelNoticeRequest(game_id=game_id, key=key)
        )

    async def tail(self, game_id: str = "") -> AsyncIterator[notify.TailNoticesResponse]:
        """What is stored from now on, of one game or of all that the token opens: notices, and rules that
        fired. At most once. Raises ClientError when the stream ends; it does not reconnect."""
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
        """A page of the inbox of the token's actor, newest first: about one game with the notices to its
        viewers, or with "" all but notices to viewers.

        `page_size`: up to 100; 0 means 20. `page_token`: the `next_page_token` of the page before. `after`:
        the `cursor` of an earlier answer; only what was not listed by then is returned.
        """
        request = notify.ListInboxRequest(
            game_id=game_id, page_size=page_size, page_token=page_token, after=after
        )
        response: notify.ListInboxResponse = await self._retried.call(self._notify.ListInbox, request)
        return response

    async def acknowledge(self, notification_ids: Sequence[str] = (), *, up_to: str = "") -> int:
        """Marks notifications as read: up to 100 ids, and all up to `up_to`, a `cursor` of `inbox` or an id.
        Returns how many are unread then. Repeating it changes nothing."""
        request = notify.AcknowledgeNoticesRequest(notification_ids=notification_ids, up_to=up_to)
        response: notify.AcknowledgeNoticesResponse = await self._retried.call(
            self._notify.AcknowledgeNotices, request
        )
        return response.unread

    async def preferences(self) -> notify.Preferences:
        """What the token's actor wants to be told, and when."""
        response: notify.GetPreferencesResponse = await self._retried.call(
            self._notify.GetPreferences, notify.GetPreferencesRequest()
        )
        return response.preferences

    async def set_preferences(self, preferences: notify.Preferences) -> notify.Preferences:
        """Replaces the preferences of the token's actor as a whole. Returns them as they are stored.
        PERMISSION_DENIED: a guest has none."""
        response: notify.SetPreferencesResponse = await self._retried.call(
            self._notify.SetPreferences, notify.SetPreferencesRequest(preferences=preferences)
        )
        return response.preferences

    async def change_segment(self, segment: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Adds actors to a segment and removes others; makes the segment if it is not there. Needs the role
        operator. Takes any number of actors, ACTORS_PER_CHANGE in each call; when it fails, some have been
        changed."""
        for actors, field in ((add, "add"), (remove, "remove")):
            for at in range(0, len(actors), ACTORS_PER_CHANGE):
                request = notify.ChangeSegmentRequest(segment=segment)
                getattr(request, field).extend(actors[at : at + ACTORS_PER_CHANGE])
                await self._retried.call(self._notify.ChangeSegment, request)

    async def segments(self) -> AsyncIterator[notify.Segment]:
        """All segments, by name. Needs the role operator."""
        request = notify.ListSegmentsRequest(page_size=PAGE_SIZE)
        while True:
            page: notify.ListSegmentsResponse = await self._retried.call(self._notify.ListSegments, request)
            for segment in page.segments:
                yield segment
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def segment_actors(self, segment: str) -> AsyncIterator[str]:
        """The ids of the actors in a segment. Needs the role operator. NOT_FOUND: there is no such
        segment."""
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
        """Removes everybody from a segment. Needs the role operator. NOT_FOUND: there is no such segment."""
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
