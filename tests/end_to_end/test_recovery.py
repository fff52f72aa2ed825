"""Whatever dies, every acked vote is counted once, and what viewers see never goes back.

Each test has a mesh of its own: its processes are killed with SIGKILL while votes flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
import redis

from aggregate.assignment import owner_of
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.client import Publisher, Viewer
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import bounds as wire_bounds
from tests.support.commands import command
from tests.support.games import GameClient, new_game, run, until
from tests.support.mesh_fixture import RunningMesh, running
from tests.support.servers import eventually
from toolbox.local import partitions

PUBLISHERS = 4
PAUSE_S = 0.01
UNSEEN_MAX = 200
"""So many votes are on their way at most, half a second of them: a machine that folds fewer than are sent in
a second would fall behind without end, until its workers are too late for their leases."""


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running(
        tmp_path_factory.mktemp("recovery"), "--ingest", "2", "--aggregate", "2", "--gateway", "2"
    ) as started:
        yield started


class Flow:
    """Votes of ever new actors, and what became of them."""

    def __init__(self, game: GameClient, viewer: Viewer) -> None:
        self._game = game
        self._viewer = viewer
        self.sent = 0
        self.acked = 0
        self.positions: dict[int, int] = {}
        self.stopping = asyncio.Event()

    @property
    def seen(self) -> int:
        state = self._viewer.states.get("poll/mvp")
        return state.tally.voters if state else 0

    async def publish(self, name: str) -> None:
        async with Publisher(self._game.edge, producer=True) as publisher:
            under_way: set[asyncio.Task[None]] = set()
            while not self.stopping.is_set():
                if self.sent - self.seen >= UNSEEN_MAX:
                    await asyncio.sleep(PAUSE_S)
                    continue
                self.sent += 1
                vote = self._game.vote(f"{name}-{self.sent}", "red" if self.sent % 2 else "blue")
                task = asyncio.create_task(self._receive(await publisher.submit(vote)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await asyncio.sleep(PAUSE_S)
            await asyncio.gather(*under_way)

    async def _receive(self, receipt: asyncio.Future) -> None:  # type: ignore[type-arg]
        for position in (await receipt).positions:
            known = self.positions.get(position.partition, 0)
            self.positions[position.partition] = max(known, position.sequence)
        self.acked += 1

    async def goes_on(self) -> None:
        """Until votes sent from now on are acked and seen."""
        acked, seen = self.acked, self.seen
        await until(
            lambda: self.acked > acked + 50 and self.seen > seen + 50, "votes are acked and seen again"
        )


@asynccontextmanager
async def flowing(game: GameClient) -> AsyncIterator[Flow]:
    """Votes flow during the body; after it, every acked one is counted once and seen."""
    await game.open_poll()
    async with game.watching("poll/mvp") as viewer:
        flow = Flow(game, viewer)
        publishers = [asyncio.create_task(flow.publish(f"p{n}")) for n in range(PUBLISHERS)]
        await flow.goes_on()
        yield flow
        flow.stopping.set()
        await asyncio.gather(*publishers)
        assert flow.acked == flow.sent
        positions = [Position(partition=p, sequence=s) for p, s in flow.positions.items()]
        state = await game.topic("poll/mvp", positions)
        assert state.tally.voters == flow.acked
        assert sum(option.votes for option in state.tally.options) == flow.acked
        await until(lambda: flow.seen == flow.acked, f"the viewer sees all {flow.acked}")
        assert viewer.cache.went_back == 0


@pytest.mark.parametrize(
    "victim",
    [
        "ingest-1",
        "aggregate-1",
        "aggregate-2",
        "gateway-1",
        "gateway-2",
        "valkey",
        "nats",
        "envoy",
        "notify-1",
    ],
)
def test_i2_a_killed_process_loses_and_doubles_nothing(own_mesh: RunningMesh, victim: str) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=4) as game, flowing(game) as flow:
            pid = own_mesh.kill(victim)
            await asyncio.to_thread(own_mesh.wait_restarted, victim, pid)
            await flow.goes_on()

    run(scenario(), within_s=120)


def test_i1_no_ack_leaves_before_the_event_log_has_stored_the_event(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh) as game:
            await game.open_poll()
            async with Publisher(game.edge, actor_id="ann") as publisher:
                pid = own_mesh.send_signal("nats", signal.SIGSTOP)
                try:
                    receipt = await publisher.submit(game.vote("ann"))
                    await asyncio.wait({receipt}, timeout=1.0)
                    assert not receipt.done(), "acked while nothing could be stored"
                finally:
                    os.kill(pid, signal.SIGCONT)
                stored = await receipt
            assert (await game.topic("poll/mvp", stored.positions)).tally.voters == 1

    run(scenario())


def test_i1_an_acked_vote_outlives_the_ingest_and_the_aggregate_that_took_it(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh) as game:
            await game.open_poll()
            positions = await game.send(game.vote("ann"))
            pids = {
                name: own_mesh.kill(name)
                for name in ("ingest-1", "ingest-2", "aggregate-1", "aggregate-2", "nats")
            }
            for name, pid in pids.items():
                await asyncio.to_thread(own_mesh.wait_restarted, name, pid)
            assert (await game.topic("poll/mvp", positions)).tally.voters == 1

    run(scenario(), within_s=120)


def test_i4_redis_emptied_under_load_is_rebuilt_from_the_stream(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=4) as game, flowing(game) as flow:
            with redis.Redis.from_url(own_mesh.stores().redis) as client:
                await asyncio.to_thread(client.flushall)
            await flow.goes_on()

    run(scenario(), within_s=120)


def test_i2_a_vote_resent_after_everything_restarted_is_still_counted_once(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh) as game:
            await game.open_board()
            vote = await game.identified(game.vote("ann"))
            await game.open_poll()
            await game.send(vote)
            names = ("gateway-1", "gateway-2", "ingest-1", "ingest-2", "aggregate-1", "aggregate-2", "valkey")
            pids = {name: own_mesh.kill(name) for name in names}
            for name, pid in pids.items():
                await asyncio.to_thread(own_mesh.wait_restarted, name, pid)
            positions = await game.send(vote)
            assert (await game.topic("poll/mvp", positions)).tally.voters == 1

    run(scenario(), within_s=120)


def test_operators_read_who_folds_each_partition_and_how_far_it_is(own_mesh: RunningMesh) -> None:
    async def owned(by: tuple[str, ...], up_to: dict[int, int]) -> list[PartitionStatus]:
        """All partitions, once these own them, each its share, and have folded `up_to`.

        Not until nothing is left to fold: while votes flow, something is left in one partition or another.
        """

        async def once() -> list[PartitionStatus] | None:
            try:
                found = await partitions.read(own_mesh.mesh, own_mesh.operator)
            except grpc.aio.AioRpcError:  # the stopped one was asked, as long as Envoy takes it for well
                return None
            assert [status.partition for status in found] == list(range(wire_bounds.PARTITIONS))
            # Each its share: a handover goes partition by partition, and a read may come in its middle.
            there = all(
                status.owner == owner_of(status.partition, by)
                and status.applied >= up_to.get(status.partition, 0)
                for status in found
            )
            return found if there else None

        found = await eventually(once, f"{', '.join(by)} own all and have folded what was acked")
        assert found is not None
        return found

    async def scenario() -> None:
        one, both = ("aggregate-1",), ("aggregate-1", "aggregate-2")
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=4) as game:
            async with flowing(game) as flow:
                before = await owned(both, dict(flow.positions))
                pid = own_mesh.send_signal("aggregate-2", signal.SIGSTOP)
                try:
                    await flow.goes_on()
                    await owned(one, dict(flow.positions))
                finally:
                    # One that stood still for long was put an end to by the supervisor, and started again.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
                after = await owned(both, dict(flow.positions))
                assert sum(status.applied for status in after) > sum(status.applied for status in before)

            async def told() -> bool:
                said = await asyncio.to_thread(command, own_mesh.home, "status")
                last = b"partitions: 16, 8 aggregate-1, 8 aggregate-2; folded up to the last block"
                return said.returncode == 0 and last in said.stdout

            await eventually(told, "nothing is left to fold")

    run(scenario(), within_s=120)
