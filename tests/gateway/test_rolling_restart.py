"""A rolling restart of the gateways under a crowd that watches a poll: nobody misses anything (I5, I8).

Each gateway is ended in good order (SIGTERM) and comes back before the next one goes. Votes flow all the
while. What it costs the viewers is told in the assertions; GRANDSTAND_ROLLING_VIEWERS sets how many there
are, 5,000 for the real thing (`pytest -s` prints the figures), a few hundred here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest

from gateway import bounds as gateway_bounds
from grandstand.client import Publisher, Viewer, includes, open_channel
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from tests.support.games import GameClient, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh, running
from tests.support.rolling import wait_until_routed

VIEWERS = int(os.environ.get("GRANDSTAND_ROLLING_VIEWERS", "300"))
GATEWAYS = 2
# The last one again: Envoy may have sent all viewers to the second at first, and the first had none.
RESTARTED = (1, 2, 1)
VIEWERS_PER_CONNECTION = 100
# Beyond this two cores are full of viewers: what they are shown is as right, but late.
CALM = 1_000
UPDATES_PER_S = 2 if VIEWERS <= CALM else 1
VOTES_PER_S = 50
# A viewer is shown something new every half second; on two busy cores it may wait this long.
STALE_MAX_S = 10.0
WITHIN_S = 120.0 + VIEWERS / 20


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running(tmp_path_factory.mktemp("rolling") / "home", "--gateway", str(GATEWAYS)) as started:
        yield started


class Seat:
    """A viewer of the crowd, and what it noticed."""

    def __init__(self, channel: grpc.aio.Channel, game_id: str) -> None:
        self.viewer = Viewer(channel, game_id, topics=["poll/mvp"], max_updates_per_s=UPDATES_PER_S)
        self.snapshots_at_s: list[float] = []
        self.longest_s = 0.0
        """Between two messages, since the first."""
        self.delays_s: list[float] = []
        """After which gateways that went away asked it to come again."""
        self.setbacks = 0
        self._heard_at_s = 0.0
        self._votes = 0

    async def watch(self) -> None:
        async for message in self.viewer:
            self._note(message, time.monotonic())

    def _note(self, message: SubscribeResponse, now_s: float) -> None:
        if message.HasField("drain"):
            self.delays_s.append(message.drain.reconnect_after.ToNanoseconds() / 1e9)
        if message.HasField("snapshot"):
            self.snapshots_at_s.append(now_s)
        if self._heard_at_s:
            self.longest_s = max(self.longest_s, now_s - self._heard_at_s)
        self._heard_at_s = now_s
        votes = votes_of(self.viewer.states.get("poll/mvp")).get("red", 0)
        self.setbacks += votes < self._votes
        self._votes = votes

    @property
    def has_settled(self) -> bool:
        return self.viewer.resumed >= self.viewer.drained

    def has_seen(self, positions: list[Position]) -> bool:
        state = self.viewer.states.get("poll/mvp")
        return state is not None and includes(state.cursor, positions)


@contextlib.asynccontextmanager
async def crowd(mesh: RunningMesh, game_id: str) -> AsyncIterator[list[Seat]]:
    """All are shown the poll when this begins."""
    async with contextlib.AsyncExitStack() as stack:
        seats: list[Seat] = []
        while len(seats) < VIEWERS:
            channel = await stack.enter_async_context(open_channel(mesh.edge, own_connection=True))
            count = min(VIEWERS_PER_CONNECTION, VIEWERS - len(seats))
            seats += [Seat(channel, game_id) for _ in range(count)]
        tasks = [asyncio.create_task(seat.watch()) for seat in seats]
        try:
            await until(lambda: all(seat.snapshots_at_s for seat in seats), "everybody watches", WITHIN_S)
            yield seats
            for task in tasks:
                assert not task.done(), task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Votes:
    """Votes that flow; where each is stored, by partition the newest."""

    def __init__(self, game: GameClient, publisher: Publisher) -> None:
        self.acked = 0
        self.is_over = False
        self._game = game
        self._publisher = publisher
        self._newest: dict[int, int] = {}

    @property
    def positions(self) -> list[Position]:
        return [Position(partition=p, sequence=s) for p, s in self._newest.items()]

    async def one(self) -> None:
        receipt = await self._publisher.send(self._game.vote(f"voter-{self.acked}"))
        self.acked += 1
        for position in receipt.positions:
            before = self._newest.get(position.partition, 0)
            self._newest[position.partition] = max(before, position.sequence)

    async def flow(self) -> None:
        while not self.is_over:
            await self.one()
            await asyncio.sleep(1 / VOTES_PER_S)


def test_a_rolling_restart_of_the_gateways_loses_no_update_for_anybody(rolling: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(rolling.edge, rolling.mesh, spread=2) as game:
            await game.open_poll()
            await asyncio.to_thread(wait_until_routed, rolling)
            async with (
                crowd(rolling, game.game_id) as seats,
                Publisher(game.edge, producer=True) as publisher,
            ):
                votes = Votes(game, publisher)
                flow = asyncio.create_task(votes.flow())
                for n in RESTARTED:
                    await asyncio.to_thread(wait_until_routed, rolling)
                    await until_shown(seats, votes.positions)
                    pid = rolling.send_signal(f"gateway-{n}", signal.SIGTERM)
                    await asyncio.to_thread(rolling.wait_restarted, f"gateway-{n}", pid)
                votes.is_over = True
                await flow
                await until_shown(seats, votes.positions)
            report(seats)
            # Every viewer has every acked vote, and was never shown fewer than before.
            assert {votes_of(seat.viewer.states["poll/mvp"])["red"] for seat in seats} == {votes.acked}
            assert sum(seat.setbacks for seat in seats) == 0
            assert sum(seat.viewer.cache.went_back for seat in seats) == 0
            # No delta was missed: one that came after a gap would not have fitted.
            assert sum(seat.viewer.mismatches for seat in seats) == 0
            # Everybody was told by each gateway it was on before that went.
            assert all(seat.viewer.drained >= 2 for seat in seats)
            if VIEWERS <= CALM:
                # They came again when they were told to, and not on finding their streams broken.
                assert [seat.viewer.resumed for seat in seats] == [seat.viewer.drained for seat in seats]
                assert max(seat.longest_s for seat in seats) < STALE_MAX_S
            # They were not all told to come at once.
            delays = Counter(delay_s for seat in seats for delay_s in seat.delays_s)
            assert max(delays.values()) <= VIEWERS / 2
            assert max(delays) - min(delays) > 0.3 * VIEWERS / gateway_bounds.DRAIN_PER_S

    run(scenario(), within_s=WITHIN_S)


async def until_shown(seats: list[Seat], positions: list[Position]) -> None:
    """All are where they were sent, and have seen the positions."""
    await until(
        lambda: all(seat.has_settled and seat.has_seen(positions) for seat in seats),
        "all see the last vote",
        WITHIN_S,
    )


def report(seats: list[Seat]) -> None:
    """For who runs it by hand with 5,000."""
    arrivals = Counter(int(at_s * 10) for seat in seats for at_s in seat.snapshots_at_s[1:])
    stale = sorted(seat.longest_s for seat in seats)
    resumed = sum(seat.viewer.resumed for seat in seats)
    print(
        f"\n{len(seats)} viewers, {resumed} reconnects, "
        f"at most {max(arrivals.values(), default=0)} within 0.1 s; longest without a message: "
        f"p50 {stale[len(stale) // 2]:.2f} s, p99 {stale[int(len(stale) * 0.99)]:.2f} s, "
        f"max {stale[-1]:.2f} s; "
        f"went back {sum(seat.viewer.cache.went_back for seat in seats)}, "
        f"mismatches {sum(seat.viewer.mismatches for seat in seats)}"
    )
