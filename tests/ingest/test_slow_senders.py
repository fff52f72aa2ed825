"""A thousand clients that send bit by bit, and thousands that say nothing, slow nobody down (I7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from bench._frames import message
from bench._h2 import RawConnection
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest, PublishResponse
from ingest.service import PUBLISH
from tests.support.games import run
from tests.support.lone_ingest import GAME, LoneIngest, lone_ingest, witness
from toolbox.local import development

SLOW = 1_000
IDLE = 2_000
STREAM_BYTES_MAX = 48 * 1024
"""Of ingest's memory, for each of them."""


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    with lone_ingest(tmp_path_factory.mktemp("ingest")) as found:
        yield found


class Crowd:
    """Streams of one connection, each of an actor of its own."""

    def __init__(self, ingest: LoneIngest, name: str, count: int) -> None:
        host, port = ingest.address.split(":")
        self.connection = RawConnection(host, int(port), PUBLISH)
        self.places = []
        self.acked: dict[int, int] = {}
        self.welcomed = 0
        for n in range(count):
            token = development.development_token(ingest.home, f"{name}-{n}")
            self.places.append(self.connection.open([("authorization", f"Bearer {token}")]))
            self.say(n, message(PublishRequest(hello=Hello()).SerializeToString()))

    def say(self, n: int, data: bytes) -> None:
        self.connection.send(self.places[n], data)

    def step(self) -> None:
        self.connection.flush()
        for place, data in self.connection.receive():
            response = PublishResponse.FromString(data)
            self.welcomed += response.HasField("welcome")
            assert not response.HasField("reject"), response
            if response.HasField("ack"):
                self.acked[place] = response.ack.origin_seq
        assert not self.connection.ended, self.connection.ended

    async def until(self, done: str, count: int) -> None:
        async with asyncio.timeout(30):
            while (self.welcomed if done == "welcomed" else len(self.acked)) < count:
                self.step()
                await asyncio.sleep(0)


def vote(n: int) -> bytes:
    event = Event(origin_seq=1, game_id=GAME, score=Score(board_id="top", points=n))
    return message(PublishRequest(events=EventBatch(events=[event])).SerializeToString())


def test_a_thousand_slow_senders_and_idle_streams_cost_little_and_slow_nobody(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with witness(ingest) as beside:
            before = ingest.rss_bytes()
            slow, idle = Crowd(ingest, "slow", SLOW), Crowd(ingest, "idle", IDLE)
            with closing(slow.connection), closing(idle.connection):
                await slow.until("welcomed", SLOW)
                await idle.until("welcomed", IDLE)
                longest = max(len(vote(n)) for n in range(SLOW))
                for at in range(longest):  # a byte of each, then the next byte of each
                    for n in range(SLOW):
                        slow.say(n, vote(n)[at : at + 1])
                    slow.step()
                    await asyncio.sleep(0)
                    if at == longest // 2:
                        assert not slow.acked
                        await beside.once_more()
                await slow.until("acked", SLOW)
                assert set(slow.acked.values()) == {1}
                for n in range(IDLE):
                    idle.say(n, message(PublishRequest(heartbeat=Heartbeat()).SerializeToString()))
                idle.step()
                assert ingest.rss_bytes() - before < (SLOW + IDLE) * STREAM_BYTES_MAX
        # That it is served meanwhile is said above; this only tells a stream that stands from a slow machine.
        assert beside.slowest_s < 15.0

    run(scenario(), 90)
