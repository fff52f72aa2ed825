"""A viewer: watches topics of a game through broken streams, and never goes back in time (I5).

Built on GatewayService.Subscribe. Iterate it: `async for message in viewer`; the iteration ends when the game
has (`ended_at`). Each new stream is asked for with the positions that what was seen includes, so its snapshot
is as new or newer. One task may iterate a viewer; `cache` and `states` may be read by any other task of the
loop.

A token that expires is renewed by itself: `token`, if it is callable, is asked for another one when the
gateway says so, and the next stream stands before the old one is ended.

Updates come as deltas, which are applied to `states`: read those, a message says only what changed. When the
gateway goes away it says so before (Drain), and the next stream stands before the old one is ended.

Bound (I7): two streams, and of each one message; a slow reader is pushed back on by HTTP/2 flow
control, and the gateway conflates what it misses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.client.attempts import OK
from grandstand.client.backoff import Backoff
from grandstand.client.credentials import StreamToken, Token, metadata_of
from grandstand.client.errors import CODES, ClientError
from grandstand.client.notifications import Notifications
from grandstand.client.retry import retry_after_s
from grandstand.client.state_cache import StateCache
from grandstand.client.stream_handover import StreamHandover
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import Rendition, SubscribeRequest, SubscribeResponse, TopicCursor
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.notify.v1.notify_pb2 import InboxResult, Notification
from grandstand.wire.delta import DeltaMismatch
from grandstand.wire.topics import INBOX

log = logging.getLogger(__name__)

_UNAVAILABLE = 14
# The server says something at least every 10 s.
SILENCE_MAX_S = 25.0


class Viewer:
    """One subscription. Raises ClientError only for what a new stream would not cure."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        game_id: str,
        *,
        topics: Sequence[str] = (),
        positions: Iterable[Position] = (),
        max_updates_per_s: int = 0,
        token: Token | None = None,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        """`channel`: to the edge, from `open_channel`. `topics`: names such as "poll/mvp" or "board/*"; none:
        all of the game. `positions`: what the first state must include, at most 64. `max_updates_per_s`: 1 to
        40; 0: as the server chooses. `token`: needed for personal topics, and to be counted in the audience.
        `backoff`, `random`: the waits before a new stream. Connects nothing yet."""
        self.cache = StateCache()
        self.resumed = 0
        """Streams that took over from one before."""
        self.mismatches = 0
        """Streams given up for a delta that did not fit."""
        self.rendition = Rendition()
        """How often the gateway sends updates now, and why if it said; 0 until it says."""
        self.ended_at: datetime | None = None
        """When the game ended; None while it goes on. Its final results are in `states`."""
        self._notifications = Notifications()
        self._stub: Any = GatewayServiceStub(channel)
        self._request = SubscribeRequest(
            game_id=game_id,
            topics=topics,
            positions=positions,
            max_updates_per_s=max_updates_per_s,
            deltas=True,
        )
        self._token = StreamToken(token)
        self._handover = StreamHandover(backoff or Backoff(), (random or Random()).random)

    @property
    def states(self) -> dict[str, TopicState]:
        """The newest state of every topic, by its name. A state is never changed, only replaced."""
        return self.cache.states

    @property
    def inbox(self) -> InboxResult | None:
        """The actor's own notifications; None until the topic "inbox" is known. `Notices` reads further back,
        and acknowledges."""
        state = self.states.get(INBOX)
        return None if state is None else state.inbox

    def take_notifications(self) -> list[Notification]:
        """What the actor was told since the last call, oldest first, each once: notices to the game's
        viewers, and what is new in the inbox if it is watched."""
        return self._notifications.take_news()

    @property
    def drained(self) -> int:
        """How many times a gateway has announced that it goes away."""
        return self._handover.drained

    def request(self) -> SubscribeRequest:
        """What the next stream will ask for: the topics, and what was seen."""
        request = SubscribeRequest()
        request.CopyFrom(self._request)
        request.applied.extend(self.cache.applied())
        request.cursors.extend(self.cache.cursors())
        return request

    async def __aiter__(self) -> AsyncIterator[SubscribeResponse]:
        """Yields each message after it was merged into `states`, across reconnects. Ends when the game has
        ended.

        Raises ClientError for what a new stream would not cure: UNAUTHENTICATED, PERMISSION_DENIED,
        NOT_FOUND, INVALID_ARGUMENT and the like. Leaving the loop ends the streams.
        """
        clock, handover = asyncio.get_running_loop().time, self._handover
        streams: dict[int, _Stream] = {}
        try:
            while True:
                if handover.renew_in_s(clock()) == 0:
                    self._renew(clock())
                due_s = handover.open_in_s(clock())
                if due_s == 0:
                    self._open(streams, clock())
                elif not streams:
                    await asyncio.sleep(due_s or 0)
                else:
                    reading = {stream.reading for stream in streams.values()}
                    timeout_s = min(
                        (s for s in (due_s, handover.renew_in_s(clock())) if s is not None), default=None
                    )
                    await asyncio.wait(reading, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                    for number, stream in list(streams.items()):
                        # One may have ended the other.
                        if number in streams and stream.reading.done():
                            message = self._hear(streams, number, clock())
                            if message is not None:
                                yield message
                            if self.ended_at is not None:
                                return
        finally:
            for stream in streams.values():
                stream.cancel()

    def _open(self, streams: dict[int, _Stream], now_s: float) -> None:
        """Opens the next stream, with a new token."""
        number = self._handover.opened()
        try:
            metadata = metadata_of(self._token.ask())
        except Exception as error:
            log.warning("no token: %r; asked again soon", error)
            why = f"the token's provider failed: {error!r}"
            self._handover.ended(number, _UNAVAILABLE, why, now_s)  # which is never final
        else:
            streams[number] = _Stream(self._stub, self.request(), metadata, self.cache.seen())

    def _renew(self, now_s: float) -> None:
        if self._token.is_renewed():
            self._handover.renewed(now_s)
        else:
            self._handover.renew_later(now_s)

    def _hear(self, streams: dict[int, _Stream], number: int, now_s: float) -> SubscribeResponse | None:
        """Takes what a stream has read; the message, if it is shown."""
        stream, handover = streams[number], self._handover
        message = stream.take()
        over = None
        if isinstance(message, _End):
            del streams[number]
            over = handover.ended(
                number, message.code, message.why, now_s, retry_after_s=message.retry_after_s
            )
        else:
            heard = handover.heard(number, message, now_s)
            if heard.ends is not None:
                streams.pop(heard.ends).cancel()
            if heard.takes_over:
                self.resumed += bool(self.cache.states)
                self.cache.begin(stream.seen)
            if not heard.shows:
                return None
            try:
                replaced = self.cache.apply(message)
            except DeltaMismatch as mismatch:
                self.mismatches += 1
                streams.pop(number).cancel()
                over = handover.mismatched(number, str(mismatch), now_s)
            else:
                self._note(message)
                if INBOX in replaced:
                    self._notifications.take_inbox(self.states[INBOX].inbox)
                return message
        if over is not None:
            raise ClientError(CODES[over.code], over.message)
        return None

    def _note(self, message: SubscribeResponse) -> None:
        match message.WhichOneof("message"):
            case "snapshot":
                # What was asked for is now in the cursors.
                del self._request.positions[:]
                if message.snapshot.updates_per_s not in (0, self.rendition.updates_per_s):
                    self.rendition = Rendition(updates_per_s=message.snapshot.updates_per_s)
            case "announcement" if message.announcement.HasField("notice"):
                self._notifications.take_announced(message.announcement.notice)
            case "rendition":
                self.rendition = message.rendition
            case "game_ended":
                self.ended_at = message.game_ended.ended_at.ToDatetime(UTC)


class _End:
    """How a stream ended."""

    def __init__(self, code: int = OK, why: str = "", retry_after_s: float | None = None) -> None:
        self.code = code
        self.why = why
        self.retry_after_s = retry_after_s


class _Stream:
    """One call, and the message of it that is being read."""

    def __init__(
        self, stub: Any, request: SubscribeRequest, metadata: Any, seen: Sequence[TopicCursor]
    ) -> None:
        self.seen = seen
        """What was shown when it was opened: it shows nothing older."""
        self._call = stub.Subscribe(request, metadata=metadata)
        self.reading = asyncio.ensure_future(self._read())

    def take(self) -> SubscribeResponse | _End:
        """What was read; the next message is read from now on."""
        message = self.reading.result()
        if isinstance(message, _End):
            self.cancel()
        else:
            self.reading = asyncio.ensure_future(self._read())
        return message

    def cancel(self) -> None:
        self._call.cancel()
        self.reading.cancel()

    async def _read(self) -> SubscribeResponse | _End:
        try:
            async with asyncio.timeout(SILENCE_MAX_S):
                message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            trailers = error.trailing_metadata() or ()
            return _End(error.code().value[0], error.details() or "no details", retry_after_s(trailers))
        except TimeoutError:
            return _End(OK, f"nothing was heard for {SILENCE_MAX_S:g} s")
        return _End() if message is grpc.aio.EOF else message
