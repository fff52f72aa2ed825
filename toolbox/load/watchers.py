"""Viewers by the hundred: Subscribe streams that count frames, and a few that read them.

One process carries the whole crowd on cores it shares with the mesh, so a plain watcher takes each frame as
bytes and counts it; a probe parses every frame, keeps the states, and notes when the poll reached which
position. A watcher whose stream breaks opens the next one by itself, and hands in the cursors of its last
frame (parsed only then), so it is never shown older state (I5). One whose gateway says that it goes away
(Drain) opens the next one when it was told to, and leaves the old one when the new one speaks.

Bound (I7): a watcher holds its last frame with states, the stream it reads and the one that follows it.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import grpc.aio

from grandstand.client import Backoff, StateCache
from grandstand.client.errors import FINAL, ClientError
from grandstand.client.retry import retry_after_s, with_jitter_s
from grandstand.event.v1.event_pb2 import Cursor
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse, TopicCursor
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.delta import DeltaMismatch
from toolbox.load.latencies import Latencies
from toolbox.load.sightings import Sightings

SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"
# The server says something at least every 10 s; a stream that is silent for longer is dead.
SILENCE_MAX_S = 25.0
# A Drain with its as_of is shorter than this, so longer frames need not be looked into.
DRAIN_BYTES_MAX = 40


class WatcherCounts:
    """What all watchers of a run have met."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.connected = 0
        self.resumed = 0
        self.drained = 0
        self.went_back = 0
        self.mismatches = 0
        self.failed: ClientError | None = None


class SimulatedViewer:
    """One viewer. `run` until cancelled; `ready` is set by the first frame."""

    def __init__(
        self, channel: grpc.aio.Channel, request: SubscribeRequest, counts: WatcherCounts, random: Random
    ) -> None:
        self.ready = asyncio.Event()
        self._subscribe: Any = channel.unary_stream(
            SUBSCRIBE, request_serializer=SubscribeRequest.SerializeToString
        )
        self._request = SubscribeRequest()
        self._request.CopyFrom(request)
        self._request.deltas = True
        self._counts = counts
        self._random = random
        self._backoff = Backoff()
        self._last = b""
        self._heard_s = 0.0
        self._least_wait_s = 0.0
        self._follows: asyncio.Task[_Opened | None] | None = None

    async def run(self) -> None:
        """Streams, one after the other. Ends only for what a new stream would not cure."""
        counts = self._counts
        attempt = 0
        opened: _Opened | None = None
        try:
            while True:
                useful = False
                try:
                    useful = await self._stream(opened)
                except grpc.aio.AioRpcError as error:
                    counts.failed = counts.failed or ClientError(
                        error.code(), error.details() or "no details"
                    )
                    self.ready.set()
                    return
                # Where the gateway has said when to come, that is waited for.
                opened = await self._follows if self._follows is not None else None
                self._follows = None
                attempt = 0 if useful else attempt + 1
                if opened is None:
                    delay_s = self._backoff.delay_s(attempt, self._random)
                    await asyncio.sleep(
                        max(delay_s, with_jitter_s(self._least_wait_s, self._random.random()))
                    )
        finally:
            if self._follows is not None:
                self._follows.cancel()

    async def _stream(self, opened: _Opened | None) -> bool:
        """One stream to its end; True if it brought frames, all good. Raises AioRpcError for a FINAL code."""
        loop = asyncio.get_running_loop()
        counts = self._counts
        if opened is None:
            opened = _Opened(self._subscribe, self._resuming())
        call, frame = opened.call, opened.frame
        self._least_wait_s = 0.0
        self._heard_s = loop.time()
        # A timer for each stream, not one for each frame: the frames are what must be cheap.
        silence = loop.call_later(SILENCE_MAX_S, self._check_silence, call)
        brought, fits = False, True
        try:
            while frame or (frame := await call.read()) is not grpc.aio.EOF:
                self._heard_s = loop.time()
                if not brought:
                    brought = True
                    counts.connected += 1
                    counts.resumed += bool(self._last)
                    self.begins(opened.request)
                    self.ready.set()
                counts.frames += 1
                counts.bytes += len(frame)
                if len(frame) > DRAIN_BYTES_MAX or not self._is_drained(frame, call):
                    self._last = frame
                    self.take(frame, self._heard_s)
                frame = b""
        except grpc.aio.AioRpcError as error:
            if error.code() in FINAL:
                raise
            self._least_wait_s = retry_after_s(error.trailing_metadata() or ()) or 0.0
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not call.cancelled() or (task is not None and task.cancelling()):
                raise
        except DeltaMismatch:
            counts.mismatches += 1
            fits = False
        finally:
            silence.cancel()
            call.cancel()
            counts.connected -= brought
        return brought and fits

    def begins(self, request: SubscribeRequest) -> None:
        """A new stream speaks from now on, which was asked for with this."""

    def take(self, frame: bytes, now_s: float) -> None:
        """Looks at a frame; a plain watcher does not."""

    def _is_drained(self, frame: bytes, call: Any) -> bool:
        """Whether a short frame has no states; a Drain is followed."""
        message = SubscribeResponse.FromString(frame)
        if message.HasField("drain") and self._follows is None:
            self._counts.drained += 1
            delay = message.drain.reconnect_after
            after_s = delay.seconds + delay.nanos / 1e9
            self._follows = asyncio.create_task(self._follow(call, after_s))
        return message.WhichOneof("message") not in ("snapshot", "update")

    async def _follow(self, drained: Any, after_s: float) -> _Opened | None:
        """The next stream with its first frame, the old one ended; None: it has to be opened again."""
        await asyncio.sleep(after_s)
        opened = _Opened(self._subscribe, self._resuming())
        try:
            async with asyncio.timeout(SILENCE_MAX_S):
                frame = await opened.call.read()
            if frame is not grpc.aio.EOF:
                opened.frame = frame
                drained.cancel()
                return opened
        except (grpc.aio.AioRpcError, TimeoutError):
            pass
        finally:
            if not opened.frame:
                opened.call.cancel()
        return None

    def _check_silence(self, call: Any) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._heard_s + SILENCE_MAX_S - loop.time()
        if left_s <= 0:
            call.cancel()
        elif not call.done():
            loop.call_later(left_s, self._check_silence, call)

    def _resuming(self) -> SubscribeRequest:
        """The request of the next stream, with the cursors of what was seen."""
        update = SubscribeResponse.FromString(self._last)
        states = [*update.snapshot.topics, *update.update.topics]
        cursors = [TopicCursor(topic=state.topic, cursor=state.cursor) for state in states]
        # Of a delta only what moved is known.
        cursors += [
            TopicCursor(topic=d.topic, cursor=Cursor(positions=d.cursor)) for d in update.update.deltas
        ]
        return self._with_cursors(cursors)

    def _with_cursors(self, cursors: list[TopicCursor]) -> SubscribeRequest:
        request = SubscribeRequest()
        request.CopyFrom(self._request)
        request.cursors.extend(cursors[: wire_bounds.POSITIONS_MAX])
        return request


class Probe(SimulatedViewer):
    """A watcher that reads: it keeps the states and notes when `topic` reached a position."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        request: SubscribeRequest,
        counts: WatcherCounts,
        random: Random,
        *,
        topic: str,
        latencies: Latencies,
    ) -> None:
        super().__init__(channel, request, counts, random)
        self.cache = StateCache()
        self.sightings = Sightings(latencies)
        self._topic = topic

    def begins(self, request: SubscribeRequest) -> None:
        self.cache.begin(request.cursors)

    def take(self, frame: bytes, now_s: float) -> None:
        before = self.cache.went_back
        topics = self.cache.apply(SubscribeResponse.FromString(frame))
        self._counts.went_back += self.cache.went_back - before
        if self._topic in topics:
            for position in self.cache.states[self._topic].cursor.positions:
                self.sightings.saw(position.partition, position.sequence, now_s)

    def _resuming(self) -> SubscribeRequest:
        return self._with_cursors(self.cache.cursors())


class _Opened:
    """A stream that is asked for, and its first frame if it has been read."""

    def __init__(self, subscribe: Any, request: SubscribeRequest) -> None:
        self.request = request
        self.call = subscribe(request)
        self.frame = b""
