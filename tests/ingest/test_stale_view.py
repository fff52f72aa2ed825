"""I9: an ingest that lost touch with the catalog acks no vote that its poll's seal overtook. A real ingest on
a real nats-server; the test closes and seals the poll, as an instance of aggregate would."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Poll
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishResponse, Reject
from grandstand.internal.v1.internal_pb2 import Block, Control
from grandstand.wire import ids
from ingest import publisher
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import run, until
from tests.support.ingest_server import serving
from tests.support.lone_ingest import GAME, LoneIngest, RawStream, definitions, lone_ingest
from tests.support.proxy import Proxy, proxy_to
from toolbox.local.ports import Ports

KEY = subjects.poll_key(GAME, "mvp")


def vote(origin_seq: int) -> Event:
    return Event(game_id=GAME, origin_seq=origin_seq, vote=Vote(poll_id="mvp", option_ids=["red"]))


class Hand:
    """What closes the poll, on a connection of its own."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def step(self, stage: int) -> None:
        """The control in every partition, then the entry."""
        poll = Poll()
        poll.CopyFrom(definitions()[KEY])  # type: ignore[arg-type]
        poll.stage = stage  # type: ignore[assignment]
        poll.closes_at.FromNanoseconds(time.time_ns())
        for partition in ids.partitions_of(GAME, 3):
            block = Block(control=Control(poll=poll)).SerializeToString()
            await self.bus.js.publish(subjects.events(partition), block)
        await (await self.bus.js.key_value(subjects.CATALOG_BUCKET)).put(KEY, poll.SerializeToString())

    async def votes_after_the_seal(self) -> int:
        """How many the log holds behind the control SEALED, which no fold counts."""
        state = (await self.bus.js.stream_info(subjects.EVENTS_STREAM)).state
        sealed, found = False, 0
        for sequence in range(state.first_seq, state.last_seq + 1):
            block = Block.FromString(
                (await self.bus.js.get_msg(subjects.EVENTS_STREAM, sequence)).data or b""
            )
            sealed = sealed or block.control.poll.stage == STAGE_SEALED
            found += sealed and sum(section.rows for section in block.events.sections)
        return found


@contextlib.asynccontextmanager
async def voter(ingest: LoneIngest) -> AsyncIterator[tuple[RawStream, Hand]]:
    """A stream with an acked vote on it."""
    bus = await Bus.connect(ingest.nats_url, "hand")
    with ingest.channel() as channel:
        async with RawStream(channel, ingest.token()) as stream:
            stream.request(hello=Hello())
            stream.events(vote(1))
            assert (await answers(stream, 1))[-1].ack.origin_seq == 1
            yield stream, Hand(bus)
    await bus.close()


async def answers(stream: RawStream, origin_seq: int) -> list[PublishResponse]:
    """All that is heard until this event is settled."""
    heard: list[PublishResponse] = []
    while not heard or heard[-1].ack.origin_seq < origin_seq:
        async with asyncio.timeout(20):
            response = await stream.hear()
        assert response is not None, await stream.ending()
        heard.append(response)
    return heard


def refusals(heard: list[PublishResponse]) -> list[Reject]:
    return [response.reject for response in heard if response.HasField("reject")]


async def passes(seconds: float) -> None:
    """What is waited for is time itself."""
    at_s = time.monotonic() + seconds
    await until(lambda: time.monotonic() >= at_s, f"{seconds:g} s pass")


def test_i9_an_ingest_that_was_stopped_does_not_ack_after_the_seal(tmp_path: Path) -> None:
    async def scenario(ingest: LoneIngest) -> None:
        async with voter(ingest) as (stream, hand):
            ingest.process.send_signal(signal.SIGSTOP)
            await hand.step(STAGE_CLOSED)
            await passes(limits.SEAL_GRACE_S)
            await hand.step(STAGE_SEALED)
            stream.events(vote(2))  # lies in its socket, as the catalog's changes do
            await passes(0.3)
            ingest.process.send_signal(signal.SIGCONT)
            (reject,) = refusals(await answers(stream, 2))
            assert reject.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
            assert not reject.maybe_stored
            assert await hand.votes_after_the_seal() == 0

    with lone_ingest(tmp_path) as ingest:
        run(scenario(ingest))


def test_i9_an_ingest_that_was_cut_off_from_nats_alone_does_not_ack_after_the_seal(tmp_path: Path) -> None:
    """The vote is judged by a view that is still fresh, and on its way when the connection dies."""

    async def scenario(ingest: LoneIngest, proxy: Proxy) -> None:
        async with voter(ingest) as (stream, hand):
            proxy.is_down = True
            proxy.cut_off()
            stream.events(vote(2))
            await hand.step(STAGE_CLOSED)
            await passes(limits.SEAL_GRACE_S)
            await hand.step(STAGE_SEALED)
            proxy.is_down = False
            heard = await answers(stream, 2)
            (reject,) = refusals(heard)
            assert reject.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
            assert reject.maybe_stored
            reasons = [response.credit.reason for response in heard if response.HasField("credit")]
            assert reasons, "it was told to wait"
            assert await hand.votes_after_the_seal() == 0

    async def through_a_proxy() -> None:
        with contextlib.closing(Ports()) as ports:
            async with proxy_to(0) as proxy:
                ingest = LoneIngest(tmp_path, ports, ["--nats", f"nats://127.0.0.1:{proxy.port}"])
                proxy.target = ingest.nats_port
                try:
                    await asyncio.to_thread(ingest.start)
                    await scenario(ingest, proxy)
                finally:
                    ingest.end()

    run(through_a_proxy())


def test_i9_a_watch_that_died_unnoticed_makes_no_ingest_ack_after_the_seal(tmp_path: Path) -> None:
    """The server that held the watch's consumer is gone: nothing is stopped, and nothing is said."""

    async def scenario(ingest: LoneIngest) -> None:
        async with voter(ingest) as (stream, hand):
            bucket = f"KV_{subjects.CATALOG_BUCKET}"
            for consumer in await hand.bus.js.consumers_info(bucket):
                await hand.bus.js.delete_consumer(bucket, consumer.name)
            await hand.step(STAGE_CLOSED)
            # Longer than a view is fresh, shorter than the grace.
            await passes(limits.VIEW_FRESH_S + 0.5)
            stream.events(vote(2))
            (reject,) = refusals(await answers(stream, 2))
            assert reject.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]

    with lone_ingest(tmp_path) as ingest:
        run(scenario(ingest))


@pytest.mark.parametrize("is_closed", [False, True])
def test_i9_a_puback_that_is_heard_too_late_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    """The machine slept between the PubAck and the ack, say. What the catalog still has open counts."""
    monkeypatch.setattr(publisher, "SETTLED_S", -1e9)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            stored: list[int] = []
            real = served.pipeline.publish

            async def publish(*arguments: object) -> int:
                stored.append(await real(*arguments))  # type: ignore[arg-type]
                if is_closed:
                    await Hand(served.bus).step(STAGE_CLOSED)
                return stored[-1]

            monkeypatch.setattr(served.pipeline, "publish", publish)
            stream = served.stream()
            await stream.hello(actor_id="ann")
            await stream.say(events=EventBatch(events=[vote(1)]))
            ack = (await stream.acked(1)).ack
            told = refusals(stream.heard)
            if is_closed:
                assert [(reject.origin_seq, reject.maybe_stored) for reject in told] == [(1, True)]
                assert not ack.positions
            else:
                assert told == []
                assert [position.sequence for position in ack.positions] == stored

    run(scenario())
