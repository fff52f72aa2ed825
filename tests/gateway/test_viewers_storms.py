"""Thousands that come, leave, or ask for what nobody can have, all at once: others see what they came for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway import bounds as gateway_bounds
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, TopicCursor
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from tests.support.games import run, until
from tests.support.lone_gateway import PARTITION, POLL, LoneGateway, healthy, lone_gateway
from tests.support.lone_ingest import GAME
from tests.support.raw_viewers import line_to
from tests.support.servers import eventually

LINES = 10
EACH = 1_000
KEPT_BYTES_MAX = 12 * 1024 * 1024
"""Of memory, after ten thousand have come and gone: what the allocator does not give back."""
DEADLINE_EXCEEDED = 4


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def test_ten_thousand_that_subscribe_and_leave_at_once_leave_nothing_behind(gateway: LoneGateway) -> None:
    async def storm() -> None:
        async with line_to(gateway.address) as line:
            for stream in line.watch(GAME, POLL, count=EACH):
                line.reset(stream)
            await line.drain()
            # It serves on, for who stays on the connection.
            last = line.watch(GAME, POLL)[0]
            await until(lambda: line.received[last], "one that stays is let in")
            assert line.goaway is None

    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            await asyncio.gather(*(storm() for _ in range(2)))
            rss = gateway.rss_bytes()
            async with viewer.sees_all_the_time():
                await asyncio.gather(*(storm() for _ in range(LINES)))
            assert gateway.rss_bytes() - rss < KEPT_BYTES_MAX

    run(scenario())


def test_connections_that_are_cut_right_after_they_subscribed_leave_nothing_behind(
    gateway: LoneGateway,
) -> None:
    ann = gateway.bearer("ann")

    async def cut() -> None:
        async with line_to(gateway.address) as line:
            for _ in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX):
                line.subscribe(SubscribeRequest(game_id=GAME), ann)
            await line.drain()

    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            rss = gateway.rss_bytes()
            async with viewer.sees_all_the_time():
                for _ in range(LINES):
                    await asyncio.gather(*(cut() for _ in range(20)))
            assert gateway.rss_bytes() - rss < KEPT_BYTES_MAX
            async with line_to(gateway.address) as line:

                async def all_hers_are_let_in() -> bool:
                    streams = [
                        line.subscribe(SubscribeRequest(game_id=GAME), ann)
                        for _ in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX)
                    ]
                    await until(lambda: all(line.received[s] or s in line.ended for s in streams), "answered")
                    for stream in streams:
                        line.reset(stream)
                    return not any(stream in line.ended for stream in streams)

                await eventually(all_hers_are_let_in, "nothing of the cut ones is left")

    run(scenario())


def test_hundreds_that_wait_for_forged_cursors_of_thousands_of_positions_hold_up_nobody(
    gateway: LoneGateway,
) -> None:
    """As many positions as a message takes, of which only the last was never stored."""
    cursors = [
        TopicCursor(
            topic=f"poll/p{n}",
            cursor=Cursor(positions=[Position(partition=PARTITION, sequence=1)] * wire_bounds.POSITIONS_MAX),
        )
        for n in range(40)
    ]
    cursors[-1].cursor.positions[-1].sequence = 2**62
    request = SubscribeRequest(game_id=GAME, topics=[POLL], cursors=cursors)
    assert 10_000 < request.ByteSize() < wire_bounds.GATEWAY_MESSAGE_BYTES_MAX

    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            rss = gateway.rss_bytes()
            async with viewer.sees_all_the_time(), line_to(gateway.address) as line:
                streams = [line.subscribe(request) for _ in range(300)]
                used_s = gateway.cpu_s()
                await until(lambda: len(line.ended) == len(streams), "all are told")
                used_s = gateway.cpu_s() - used_s
            # Of the five seconds that they wait; a look at all their positions each time takes three.
            assert used_s < limits.BARRIER_S / 2.5
            assert {ending.code for ending in line.ended.values()} == {DEADLINE_EXCEEDED}
            assert gateway.rss_bytes() - rss < KEPT_BYTES_MAX

    run(scenario())


def test_a_thousand_subscriptions_of_which_no_two_are_alike_are_all_served(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer:
            rss = gateway.rss_bytes()
            async with viewer.sees_all_the_time(), line_to(gateway.address) as line:
                streams = [
                    line.watch(GAME, POLL, f"poll/p{n}", max_updates_per_s=1 + n % 20)[0]
                    for n in range(1_000)
                ]
                await until(lambda: all(line.received[s] for s in streams), "each has its snapshot")
                await until(lambda: all(len(line.received[s]) >= 3 for s in streams), "each has updates")
            assert gateway.rss_bytes() - rss < 3 * KEPT_BYTES_MAX

    run(scenario())
