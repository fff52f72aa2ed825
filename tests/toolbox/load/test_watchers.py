"""Simulated viewers and a gateway that goes away, is full, or says what does not fit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import grpc
import pytest

from grandstand.client import open_channel
from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, SubscribeRequest, SubscribeResponse, Update
from tests.clients.test_viewer import NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE, changed, drain, poll
from tests.support.games import run, until
from tests.support.http2_service import serving
from tests.support.stand_in_gateway import StandInGateway
from toolbox.load.latencies import Latencies
from toolbox.load.watchers import Probe, SimulatedViewer, WatcherCounts


class Scene:
    """A stand-in gateway and a watcher of it."""

    def __init__(self, gateway: StandInGateway, watcher: SimulatedViewer, counts: WatcherCounts) -> None:
        self.gateway = gateway
        self.watcher = watcher
        self.counts = counts

    def cursor(self, stream: int) -> list[int]:
        """The sequences handed in with that stream."""
        request = self.gateway.streams[stream].request
        assert request is not None
        return [at.sequence for one in request.cursors for at in one.cursor.positions]


@contextlib.asynccontextmanager
async def scene(kind: type[SimulatedViewer]) -> AsyncIterator[Scene]:
    gateway, counts = StandInGateway(), WatcherCounts()
    async with (
        serving(gateway.methods) as (_, address),
        open_channel(address, own_connection=True) as channel,
    ):
        request = SubscribeRequest(game_id="demo")
        watcher = (
            Probe(channel, request, counts, Random(1), topic="poll/mvp", latencies=Latencies())
            if kind is Probe
            else SimulatedViewer(channel, request, counts, Random(1))
        )
        task = asyncio.create_task(watcher.run())
        await until(lambda: gateway.asked == 1, "the first stream is asked for")
        try:
            yield Scene(gateway, watcher, counts)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("kind", [SimulatedViewer, Probe])
def test_a_drained_watcher_leaves_the_old_stream_when_the_new_one_speaks(kind: type[SimulatedViewer]) -> None:
    async def scenario() -> None:
        async with scene(kind) as at:
            old = at.gateway.streams[0]
            old.show(poll(3))
            old.say(changed(3, 4))
            old.say(SubscribeResponse(heartbeat=Heartbeat()))
            old.say(drain(0.05))
            await until(lambda: at.gateway.asked == 2, "the next stream is asked for")
            assert at.cursor(1) == [4], "of the last frame with states"
            assert not old.is_gone
            old.say(changed(4, 5))
            await until(lambda: at.counts.frames == 5, "the old one is read")
            at.gateway.streams[1].show(poll(4))  # Behind it, and not behind what was handed in.
            await until(lambda: old.is_gone, "the old one is left")
            at.gateway.streams[1].say(changed(4, 6))
            await until(lambda: at.counts.frames == 7, "the new one is read")
            counts = at.counts
            assert (counts.drained, counts.resumed, counts.connected) == (1, 1, 1)
            assert (counts.went_back, counts.misfits) == (0, 0)
            if isinstance(at.watcher, Probe):
                assert at.watcher.screen.states["poll/mvp"] == poll(6)

    run(scenario())


def test_a_drained_watcher_whose_next_stream_fails_comes_again_when_the_old_one_has_ended() -> None:
    async def scenario() -> None:
        async with scene(SimulatedViewer) as at:
            at.gateway.streams[0].show(poll(3))
            at.gateway.streams[0].say(drain(0))
            await until(lambda: at.gateway.asked == 2, "the next stream is asked for")
            at.gateway.streams[1].end(UNAVAILABLE, "not yet")
            at.gateway.streams[0].end(UNAVAILABLE, "gone")
            await until(lambda: at.gateway.asked == 3, "another one is asked for")
            assert at.cursor(2) == [3]

    run(scenario())


def test_a_probe_whom_a_delta_does_not_fit_comes_again_with_its_cursors() -> None:
    async def scenario() -> None:
        async with scene(Probe) as at:
            at.gateway.streams[0].show(poll(3))
            other = TopicDelta(topic="poll/a-topic-that-was-never-shown")
            at.gateway.streams[0].say(SubscribeResponse(update=Update(deltas=[other])))
            await until(lambda: at.gateway.asked == 2, "it comes again")
            assert (at.cursor(1), at.counts.misfits) == ([3], 1)

    run(scenario())


def test_a_watcher_that_is_turned_away_waits_as_long_as_it_was_told() -> None:
    async def scenario() -> None:
        async with scene(SimulatedViewer) as at:
            clock = asyncio.get_running_loop().time
            told_s = clock()
            at.gateway.streams[0].end(RESOURCE_EXHAUSTED, "full", 0.5)
            await until(lambda: at.gateway.asked == 2, "it comes back")
            assert clock() - told_s >= 0.5
            at.gateway.streams[1].end(NOT_FOUND, "no such game")
            await until(lambda: at.counts.failed, "it gives up")
            assert at.counts.failed is not None
            assert at.counts.failed.code is grpc.StatusCode.NOT_FOUND

    run(scenario())
