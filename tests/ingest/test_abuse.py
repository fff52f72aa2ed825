"""Clients that flood, pad, never read, or never wait: bounded memory, and nobody else is slowed (I7, I8).

A real ingest on a real NATS. GRANDSTAND_FUZZ_MESSAGES=1000000 makes the flood of tiny messages as long as
that; it takes about a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest

from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import Heartbeat, PublishResponse
from grandstand.wire import bounds as wire_bounds
from ingest import bounds as ingest_bounds
from tests.support.games import run
from tests.support.hostile import BYTES, field
from tests.support.lone_ingest import (
    CONNECTION,
    GAME,
    HELLO,
    PUBLISH,
    LoneIngest,
    RawStream,
    batch,
    lone_ingest,
    said,
    score,
    witness,
)
from tests.support.rejections import assert_documented

Code = grpc.StatusCode
MESSAGES = int(os.environ.get("GRANDSTAND_FUZZ_MESSAGES", "20000"))
PATIENCE_S = 60 + MESSAGES / 2_000
GROWTH_BYTES_MAX = 24 * 1024 * 1024


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    with lone_ingest(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


async def plain_call(channel: grpc.aio.Channel, token: str, hello: bytes = HELLO) -> Any:
    """A stream that stands, and reads only what it is told to."""
    method = channel.stream_stream(PUBLISH, response_deserializer=PublishResponse.FromString)
    call: Any = method(metadata=(("authorization", f"Bearer {token}"),))
    await call.write(hello)
    assert (await call.read()).HasField("welcome")
    return call


def test_tiny_messages_without_end_cost_no_memory_and_nobody_else_waits(ingest: LoneIngest) -> None:
    heartbeat = said(heartbeat=Heartbeat())

    async def beat(count: int) -> None:
        async with grpc.aio.insecure_channel(ingest.address, CONNECTION) as channel:
            call = await plain_call(channel, ingest.token())
            for _ in range(count):
                await call.write(heartbeat)
            await call.done_writing()
            async with asyncio.timeout(PATIENCE_S):
                while await call.read() is not grpc.aio.EOF:
                    pass
            assert await call.code() == Code.OK, await call.details()

    async def empty_batches(count: int) -> None:
        with ingest.channel() as channel:
            for _ in range(count):
                async with RawStream(channel, ingest.token()) as stream:
                    for data in (HELLO, *[batch()] * 10):
                        stream.say(data)
                    code, details, _ = await stream.ending()
                assert code == Code.INVALID_ARGUMENT, details

    async def scenario() -> None:
        async with witness(ingest) as beside:
            await beat(1_000)
            before = ingest.rss_bytes()
            await asyncio.gather(*(beat(MESSAGES // 4) for _ in range(4)), empty_batches(MESSAGES // 500))
            assert ingest.rss_bytes() - before < GROWTH_BYTES_MAX
        assert beside.slowest_s < 5.0

    run(scenario(), PATIENCE_S)


def test_messages_of_100_mb_are_refused_by_their_size_before_they_take_memory(ingest: LoneIngest) -> None:
    huge = field(2, BYTES, bytes(100 * 1024 * 1024))

    async def scenario() -> None:
        async with witness(ingest):
            before = ingest.rss_bytes()
            with ingest.channel() as channel:
                async with RawStream(channel, ingest.token()) as stream:
                    stream.say(HELLO)
                    stream.say(huge)
                    code, details, _ = await stream.ending()
            assert (code, details) == (Code.RESOURCE_EXHAUSTED, details)
            assert (
                f"a message of {len(huge)} bytes; at most {wire_bounds.INGEST_MESSAGE_BYTES_MAX}" in details
            )
            assert_documented(code.value[0], details)
            assert ingest.peak_bytes() - before < GROWTH_BYTES_MAX

    run(scenario(), PATIENCE_S)


def test_padding_that_differs_from_vote_to_vote_takes_no_memory(ingest: LoneIngest) -> None:
    """What is remembered of bodies is bounded in bytes, not only in number."""
    # Few enough for an actor's burst, or they would be paced.
    count, padding = ingest_bounds.ACTOR_BURST_EVENTS, 200_000

    async def scenario() -> None:
        async with witness(ingest):
            before = ingest.rss_bytes()
            with ingest.channel() as channel:
                async with RawStream(channel, ingest.token("padder")) as stream:
                    stream.say(HELLO)
                    acked = 0
                    for seq in range(1, count + 1):
                        vote = Vote(poll_id="mvp", option_ids=["red"]).SerializeToString()
                        vote += field(99, BYTES, seq.to_bytes(4, "big") * (padding // 4))
                        event = Event(origin_seq=seq, game_id=GAME).SerializeToString() + field(
                            10, BYTES, vote
                        )
                        stream.say(field(2, BYTES, field(1, BYTES, event)))
                        while seq - acked >= 20:
                            response = await stream.hear()
                            assert response is not None, (await stream.ending())[:2]
                            assert not response.HasField("reject"), response
                            acked = max(acked, response.ack.origin_seq)
            assert ingest.rss_bytes() - before < count * padding // 3

    run(scenario(), PATIENCE_S)


def test_a_client_that_reads_nothing_is_held_back_and_misses_nothing(ingest: LoneIngest) -> None:
    refused_each = wire_bounds.VIEWER_CREDIT

    async def scenario() -> None:
        async with witness(ingest):
            before = ingest.rss_bytes()
            async with grpc.aio.insecure_channel(ingest.address, CONNECTION) as channel:
                call = await plain_call(channel, ingest.token("deaf"))
                sent = 0
                with contextlib.suppress(TimeoutError):
                    while sent < 1_000_000:
                        numbers = range(sent + 1, sent + refused_each + 1)
                        data = batch(*(score(seq, actor_id="somebody-else") for seq in numbers))
                        writing = asyncio.ensure_future(call.write(data))
                        await asyncio.wait_for(asyncio.shield(writing), 2.0)
                        sent += refused_each
                assert sent < 1_000_000, "nothing held it back"
                assert ingest.rss_bytes() - before < GROWTH_BYTES_MAX
                refused = 0
                while refused < sent:
                    response = await call.read()
                    assert response is not grpc.aio.EOF, await call.details()
                    if response.HasField("reject"):
                        refused += 1
                        assert response.reject.origin_seq == refused
                await writing
                call.cancel()

    run(scenario(), PATIENCE_S)


def test_a_client_that_ignores_its_credit_while_nothing_is_acked_is_ended(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        with ingest.channel() as channel:
            async with RawStream(channel, ingest.token("greedy")) as stream:
                stream.say(HELLO)
                stream.events(score(1))
                while (response := await stream.hear()) is not None and not response.ack.origin_seq:
                    pass
                ingest.nats.send_signal(signal.SIGSTOP)
                try:
                    for seq in range(2, 2 + 2 * wire_bounds.VIEWER_CREDIT):
                        stream.events(score(seq))
                    code, details, heard = await stream.ending()
                finally:
                    ingest.nats.send_signal(signal.SIGCONT)
            assert code == Code.RESOURCE_EXHAUSTED, details
            assert "is 65 ahead of the last ack (1); at most 64 may be unacked" in details
            assert not any(response.HasField("ack") for response in heard)
        async with witness(ingest):
            pass

    run(scenario(), PATIENCE_S)
