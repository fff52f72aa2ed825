"""A slow viewer costs nobody else anything (I8): it is sent the newest state, and has no queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from statistics import median

import pytest

from gateway import bounds as gateway_bounds
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from mesh.http2 import bounds
from mesh.results_feed import bounds as feed_bounds
from tests.support.games import run, until
from tests.support.grpc_web import web_viewer
from tests.support.lone_gateway import POLL, Healthy, LoneGateway, healthy, lone_gateway, red, states_of
from tests.support.lone_ingest import GAME
from tests.support.raw_viewers import SUBSCRIBE, Line, line_to

STALLED = 500
STATES = 40
BYTES = 300
MESSAGES_MAX = BYTES // 40
"""In this many bytes."""
KIB = 1024
STREAM_BYTES_MAX = 4 * KIB
CONNECTION_BYTES_MAX = bounds.FLUSH_BYTES_MAX + bounds.TRANSPORT_HIGH_BYTES
"""One turn's write, and what the socket did not take of it. Once freed, the C library gives it back to the
system or keeps it, as the layout of its heap happens to be: it counts although nothing is stalled."""
SLACK_BYTES = 4 * KIB * KIB
"""What the allocator keeps, and a healthy viewer needs."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


async def states_seen(viewer: Healthy) -> list[float]:
    """How late the healthy viewer was for each of this many states."""
    return [await viewer.sees_the_next() for _ in range(STATES)]


async def assert_unaffected(
    gateway: LoneGateway, viewer: Healthy, before: list[float], rss: int, room: int
) -> None:
    """The healthy viewer sees what it saw `before` as soon, and memory grew by no more than `room`."""
    after = await states_seen(viewer)
    assert median(after) < 2 * median(before) + gateway_bounds.TICK_S
    assert gateway.rss_bytes() - rss < room


async def sent_the_newest(line: Line, streams: list[int], viewer: Healthy, most: int) -> None:
    """Each sees the newest state, and was sent no more than `most` states on the way, in order."""

    def is_shown(stream: int) -> bool:
        states = [red(state) for each in line.received[stream] for state in states_of(each)]
        assert states == sorted(states), "time runs forwards (I5)"
        return bool(states) and states[-1] == viewer.seen

    await until(lambda: all(is_shown(stream) for stream in streams), "the slow ones see the newest state")
    assert max(len(line.received[stream]) for stream in streams) <= most
    assert not line.ended
    assert not line.is_closed


def test_hundreds_that_never_read_from_their_connections_cost_nobody_anything(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            results.is_wide = True
            before, rss = await states_seen(viewer), gateway.rss_bytes()
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(5):
                    line = await stack.enter_async_context(
                        line_to(gateway.address, deaf=True, socket_bytes=2_048)
                    )
                    line.watch(GAME, count=STALLED // 5)
                    await line.drain()
                room = 5 * CONNECTION_BYTES_MAX + STALLED * STREAM_BYTES_MAX + SLACK_BYTES
                await assert_unaffected(gateway, viewer, before, rss, room)

    run(scenario())


def test_hundreds_with_a_window_of_one_byte_wait_for_the_newest_state_only(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            before, rss = await states_seen(viewer), gateway.rss_bytes()
            async with line_to(gateway.address, window=1) as line:
                streams = line.watch(GAME, POLL, count=STALLED)
                await until(lambda: len(line.bytes) == STALLED, "each was sent its byte")
                room = STALLED * STREAM_BYTES_MAX + SLACK_BYTES
                await assert_unaffected(gateway, viewer, before, rss, room)
                assert set(line.bytes.values()) == {1}
                for stream in streams:
                    line.grant(stream, 1_000_000)
                # The one that had begun, and one newer.
                await sent_the_newest(line, streams, viewer, most=3)

    run(scenario())


def all_have(line: Line, streams: list[int], octets: int) -> bool:
    return all(line.bytes[stream] == octets for stream in streams)


def test_one_that_reads_byte_by_byte_is_sent_whole_messages_and_only_new_ones(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            before, rss = await states_seen(viewer), gateway.rss_bytes()
            async with line_to(gateway.address, window=0) as line:
                streams = line.watch(GAME, POLL, count=10)
                async with viewer.sees_all_the_time() as states:
                    for octets in range(1, BYTES + 1):
                        for stream in streams:
                            line.grant(stream, 1)
                        await until(partial(all_have, line, streams, octets), f"byte {octets} came")
                assert len(states) > 2 * MESSAGES_MAX
                assert all(1 <= len(line.received[stream]) < MESSAGES_MAX for stream in streams)
                await assert_unaffected(gateway, viewer, before, rss, SLACK_BYTES)
                for stream in streams:
                    line.grant(stream, 1_000_000)
                await sent_the_newest(line, streams, viewer, most=MESSAGES_MAX + 2)

    run(scenario())


def test_browsers_that_stall_behind_envoy_cost_nobody_anything(gateway: LoneGateway) -> None:
    edge = gateway.envoy()
    request = SubscribeRequest(game_id=GAME).SerializeToString()

    async def scenario() -> None:
        address = f"{edge.host}:{edge.port}"
        async with gateway.results() as results, healthy(gateway, results, address) as viewer:
            results.is_wide = True
            before, rss = await states_seen(viewer), gateway.rss_bytes()
            async with contextlib.AsyncExitStack() as stack:
                stalled = [
                    await stack.enter_async_context(web_viewer(edge, SUBSCRIBE, request))
                    for _ in range(STALLED)
                ]
                # Envoy reads for all of them on one connection, each turn a wide state for every stream.
                room = CONNECTION_BYTES_MAX + STALLED * STREAM_BYTES_MAX + SLACK_BYTES
                await assert_unaffected(gateway, viewer, before, rss, room)
                await results.show(topic="poll/last-word")
                await asyncio.gather(*(each.until(b"poll/last-word") for each in stalled))

    run(scenario(), within_s=90)


def test_a_result_that_core_nats_lost_is_on_screens_within_a_second(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            lags_s = [await viewer.sees_the_next(told=False) for _ in range(5)]
            assert median(lags_s) < feed_bounds.ANTI_ENTROPY_S + 3 * gateway_bounds.TICK_S

    run(scenario())
