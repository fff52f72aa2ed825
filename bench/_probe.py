"""The measuring end: one viewer and one voter on connections of their own, and a unary call for the floor."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from grandstand.client import Publisher, Receipt, SessionLost, Token, open_channel
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from toolbox.load.latencies import Latencies
from toolbox.load.simulate import OPTIONS
from toolbox.load.watchers import Probe, WatcherCounts

READY_S = 15.0
SEEN_S = 10.0


class VoteProbe:
    """Votes, and sees its votes on screen. Use as `async with`."""

    def __init__(self, edge: str, game_id: str, poll_id: str, random: Random, token: Token) -> None:
        """`token`: a producer's."""
        self.sent = 0
        self.acked = 0
        self.counts = WatcherCounts()
        self.newest: dict[int, int] = {}
        self._game_id = game_id
        self._poll_id = poll_id
        self._random = random
        self._watching_channel = open_channel(edge, own_connection=True)
        self._voting_channel = open_channel(edge, own_connection=True)
        self._health: Any = HealthStub(self._voting_channel)
        self._publisher = Publisher(
            self._voting_channel, producer=True, client="grandstand-bench", token=token
        )
        self._watcher = Probe(
            self._watching_channel,
            SubscribeRequest(game_id=game_id, topics=[f"poll/{poll_id}"]),
            self.counts,
            random,
            topic=f"poll/{poll_id}",
            latencies=Latencies(),
        )
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> VoteProbe:
        self._publisher.start()
        self._watching = asyncio.create_task(self._watcher.run())
        await self._publisher.connected(READY_S)
        async with asyncio.timeout(READY_S):
            await self._watcher.ready.wait()
        if self.counts.failed is not None:
            raise self.counts.failed
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._publisher.aclose()
        await self._watching_channel.close()
        await self._voting_channel.close()

    @property
    def voters(self) -> int:
        """What the screen shows."""
        state = self._watcher.cache.states.get(f"poll/{self._poll_id}")
        return state.tally.voters if state is not None else 0

    def measure_into(self, latencies: Latencies) -> None:
        """From now on votes are measured here."""
        self._watcher.sightings.latencies = latencies

    async def vote(self) -> None:
        """Sends one vote; it is measured when it is on screen."""
        sent_s = asyncio.get_running_loop().time()
        self.sent += 1
        vote = Vote(poll_id=self._poll_id, option_ids=[self._random.choice(OPTIONS)])
        event = Event(game_id=self._game_id, actor_id=f"probe-{self.sent}", vote=vote)
        receipt = await self._publisher.submit(event)
        receipt.add_done_callback(lambda done: self._settled(done, sent_s))

    async def vote_and_see(self) -> None:
        """One vote, and until it is on screen."""
        await self.vote()
        await self.settle()

    async def settle(self) -> None:
        """Until every vote sent is acked and on screen, or SEEN_S."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SEEN_S
        while (self.acked < self.sent or self._watcher.sightings.waiting) and loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    async def call(self, latencies: Latencies) -> None:
        """One unary call through the same edge: the floor of any answer."""
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        await self._health.Check(HealthCheckRequest(), timeout=READY_S)
        latencies.add(loop.time() - sent_s)

    def _settled(self, done: asyncio.Future[Receipt], sent_s: float) -> None:
        error = done.exception()
        if isinstance(error, SessionLost):
            return
        if error is None:
            self.acked += 1
            positions = [(p.partition, p.sequence) for p in done.result().positions]
            for partition, sequence in positions:
                self.newest[partition] = max(sequence, self.newest.get(partition, 0))
            self._watcher.sightings.acked(positions, sent_s)
