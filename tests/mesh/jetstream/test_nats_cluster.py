"""I1, I2 on a cluster of three: whatever becomes of the event stream's leader, nothing acked is lost and
nothing is stored twice. On real nats-servers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg

from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import GrandstandError, Unavailable
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from tests.support.games import run, until
from tests.support.nats_cluster import NODES, NatsCluster, nats_cluster
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from tests.support.servers import Process, eventually

pytestmark = EACH_NATS

READ_AT_ONCE = 100
ELECTION_S = 45.0
"""A follower stands for election 4 to 9 s after it last heard its leader; a vote may be split."""


class Flow:
    """Publishes without a pause, and submits what was not stored in time again under its message id."""

    def __init__(self, pipeline: PublishPipeline) -> None:
        self._pipeline = pipeline
        self._loop = asyncio.get_running_loop()
        self.acked: dict[str, int] = {}
        self.submitted = 0
        self.failed = 0
        self.last_ack_at = 0.0
        self.longest_gap_s = 0.0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            for _ in range(4):
                self.submitted += 1
                self.submit(f"m{self.submitted}", bytes(500))
            await asyncio.sleep(0.01)

    def submit(self, message_id: str, payload: bytes) -> None:
        def on_done(sequence: int | None, error: GrandstandError | None) -> None:
            if sequence is None:
                assert isinstance(error, Unavailable)
                self.failed += 1
                self.submit(message_id, payload)
                return
            assert message_id not in self.acked
            self.acked[message_id] = sequence
            now_s = self._loop.time()
            self.longest_gap_s = max(self.longest_gap_s, now_s - (self.last_ack_at or now_s))
            self.last_ack_at = now_s

        subject = subjects.events(hash(message_id) % wire_bounds.PARTITIONS)
        deadline_at = self._loop.time() + limits.PUBLISH_DEADLINE_S
        assert self._pipeline.submit(subject, payload, message_id, None, deadline_at, on_done)

    async def recovered(self) -> float:
        """Until it flows again; the longest time without an ack since it was last asked."""
        asked_at = self._loop.time()
        await until(lambda: self.last_ack_at > asked_at + 0.3, "acks come", ELECTION_S)
        await until(lambda: not self._pipeline.away, "the event log is back")
        gap_s, self.longest_gap_s = self.longest_gap_s, 0.0
        return gap_s

    async def end(self) -> None:
        """Returns when all that was ever submitted is acked."""
        self._task.cancel()
        await until(lambda: len(self.acked) == self.submitted, "all is acked", ELECTION_S)


async def stored_messages(bus: Bus) -> list[RawStreamMsg]:
    """The event stream in its order, as its leader has it."""

    async def message(sequence: int) -> RawStreamMsg | None:
        with contextlib.suppress(NatsError, TimeoutError):
            return await bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
        return None

    found: list[RawStreamMsg] = []
    state = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state
    for begin in range(state.first_seq, state.last_seq + 1, READ_AT_ONCE):
        sequences = range(begin, min(begin + READ_AT_ONCE, state.last_seq + 1))
        messages = await asyncio.gather(
            *(eventually(partial(message, sequence), f"message {sequence} is read") for sequence in sequences)
        )
        found += [each for each in messages if each is not None]
    return found


async def stored(bus: Bus) -> dict[str, list[int]]:
    """The sequences under which each message id lies in the event stream."""
    found: dict[str, list[int]] = {}
    for message in await stored_messages(bus):
        assert message.headers is not None
        assert message.seq is not None
        found.setdefault(message.headers["Nats-Msg-Id"], []).append(message.seq)
    return found


@asynccontextmanager
async def flowing(cluster: NatsCluster) -> AsyncIterator[tuple[Bus, PublishPipeline, Flow, Process]]:
    """Through a connection to the leader, which is told; of the other servers the leader tells.

    Ends with the verdict: everything was acked in the end, and lies where its ack says, and there only.
    """
    bus = await Bus.connect(cluster.url, "test", replicas=NODES)
    await bus.ensure_events_stream(bytes_max=10**9)
    leader = await cluster.leader(bus)
    flow_bus = await Bus.connect(cluster.url_of(leader), "flow")
    pipeline = PublishPipeline(flow_bus)
    await pipeline.start()
    flow = Flow(pipeline)
    await flow.recovered()
    yield bus, pipeline, flow, leader
    await flow.end()
    assert await stored(bus) == {message_id: [sequence] for message_id, sequence in flow.acked.items()}
    await pipeline.close()
    await flow_bus.close()
    await bus.close()


def test_i1_i2_a_leader_that_steps_down_or_is_killed_loses_nothing_and_doubles_nothing(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    async def scenario(cluster: NatsCluster) -> None:
        async with flowing(cluster) as (bus, pipeline, flow, leader):
            flips: list[bool] = []
            pipeline.on_change(flips.append)

            request = f"$JS.API.STREAM.LEADER.STEPDOWN.{subjects.EVENTS_STREAM}"
            assert b'"success":true' in (await bus.client.request(request, timeout=5)).data
            step_down_s = await flow.recovered()
            next_leader = await cluster.leader(bus)
            assert next_leader is not leader
            assert step_down_s < 3

            next_leader.kill()
            await until(lambda: pipeline.away, "the event log is away", 1.5)
            kill_s = await flow.recovered()
            assert flips[-2:] == [True, False]
            print(f"without an ack: {step_down_s:.2f} s at a step-down, {kill_s:.2f} s at a kill")
            record_property("step_down_s", step_down_s)
            record_property("kill_s", kill_s)

    with nats_cluster(tmp_path) as cluster:
        run(scenario(cluster), within_s=120)


def test_i1_i2_a_leader_that_stands_still_is_left_and_loses_and_doubles_nothing(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Also when more was written to it than it has taken. It wakes as a leader that is none any more."""

    async def scenario(cluster: NatsCluster) -> None:
        async with flowing(cluster) as (bus, pipeline, flow, leader):
            await cluster.stop(leader)
            for number in range(limits.PUBLISH_IN_FLIGHT_BYTES_MAX // limits.BLOCK_BYTES_MAX):
                flow.submitted += 1
                flow.submit(f"large-{number}", bytes(limits.BLOCK_BYTES_MAX))
            await until(lambda: pipeline.away, "the event log is away", 1.5)
            stop_s = await flow.recovered()
            leader.send_signal(signal.SIGCONT)
            await cluster.leader(bus)
            await flow.recovered()
            print(f"without an ack: {stop_s:.2f} s at a stop")
            record_property("stop_s", stop_s)

    with nats_cluster(tmp_path) as cluster:
        run(scenario(cluster), within_s=120)
