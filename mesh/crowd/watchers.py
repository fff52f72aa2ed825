"""Viewers by the hundred: Subscribe streams that count frames, and a few that read them.

One process carries the whole crowd on cores it shares with the mesh, so a plain watcher takes each
frame as bytes and counts it; a probe parses every frame, keeps the states, and notes when the poll
reached which position. A watcher whose stream breaks opens the next one by itself, and hands in
the cursors of its last frame (parsed only then), so it is never shown older state (I5).

Bound (I7): a watcher holds its last frame and nothing else.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import grpc.aio

from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse
from mesh.client import Backoff, Screen
from mesh.client.errors import FINAL, ClientError
from mesh.crowd.latencies import Latencies
from mesh.crowd.sightings import Sightings

SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"
# The server says something at least every 10 s; a stream that is silent for longer is dead.
SILENCE_MAX_S = 25.0


class WatcherCounts:
    """What all watchers of a run have met."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.connected = 0
        self.resumed = 0
        self.went_back = 0
        self.failed: ClientError | None = None


class Watcher:
    """One viewer. `run` until cancelled; `ready` is set by the first frame."""

    def __init__(
        self, channel: grpc.aio.Channel, request: SubscribeRequest, counts: WatcherCounts, random: Random
    ) -> None:
        self.ready = asyncio.Event()
        self._subscribe: Any = channel.unary_stream(
            SUBSCRIBE, request_serializer=SubscribeRequest.SerializeToString
        )
        self._request = request
        self._counts = counts
        self._random = random
        self._backoff = Backoff()
        self._last = b""
        self._heard_s = 0.0

    async def run(self) -> None:
        """Streams, one after the other. Ends only for what a new stream would not cure."""
        counts = self._counts
        attempt = 0
        while True:
            useful = False
            try:
                useful = await self._stream()
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    counts.failed = counts.failed or ClientError(
                        error.code(), error.details() or "no details"
                    )
                    self.ready.set()
                    return
            attempt = 0 if useful else attempt + 1
            await asyncio.sleep(self._backoff.delay_s(attempt, self._random))

    async def _stream(self) -> bool:
        """One stream to its end; True if it brought a frame."""
        loop = asyncio.get_running_loop()
        counts = self._counts
        call = self._subscribe(self._resuming())
        self._heard_s = loop.time()
        # A timer for each stream, not one for each frame: the frames are what must be cheap.
        silence = loop.call_later(SILENCE_MAX_S, self._check_silence, call)
        brought = False
        try:
            while (frame := await call.read()) is not grpc.aio.EOF:
                if not brought:
                    brought = True
                    counts.connected += 1
                    counts.resumed += bool(self._last)
                    self.ready.set()
                self._heard_s = loop.time()
                self._last = frame
                counts.frames += 1
                counts.bytes += len(frame)
                self.take(frame, self._heard_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in FINAL:
                raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not call.cancelled() or (task is not None and task.cancelling()):
                raise
        finally:
            silence.cancel()
            call.cancel()
            counts.connected -= brought
        return brought

    def take(self, frame: bytes, now_s: float) -> None:
        """Looks at a frame; a plain watcher does not."""

    def _check_silence(self, call: Any) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._heard_s + SILENCE_MAX_S - loop.time()
        if left_s <= 0:
            call.cancel()
        elif not call.done():
            loop.call_later(left_s, self._check_silence, call)

    def _resuming(self) -> SubscribeRequest:
        if not self._last:
            return self._request
        screen = Screen()
        screen.apply(SubscribeResponse.FromString(self._last))
        return self._with_cursors(screen)

    def _with_cursors(self, screen: Screen) -> SubscribeRequest:
        request = SubscribeRequest()
        request.CopyFrom(self._request)
        request.cursors.extend(screen.cursors())
        return request


class Probe(Watcher):
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
        self.screen = Screen()
        self.sightings = Sightings(latencies)
        self._topic = topic

    def take(self, frame: bytes, now_s: float) -> None:
        before = self.screen.went_back
        topics = self.screen.apply(SubscribeResponse.FromString(frame))
        self._counts.went_back += self.screen.went_back - before
        if self._topic in topics:
            for position in self.screen.states[self._topic].cursor.positions:
                self.sightings.saw(position.partition, position.sequence, now_s)

    def _resuming(self) -> SubscribeRequest:
        return self._with_cursors(self.screen)
