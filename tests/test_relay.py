"""The gateway's stream to ingest: nothing is lost or sent twice at once, whatever the stream does.

The other side is a real grpc.aio server that answers, stays silent or breaks on command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from gateway.relay import Relay
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import Ack, PublishRequest, PublishResponse, Receipt, Reject
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from mesh import limits
from mesh.client import open_channel
from mesh.errors import AlreadyDone, Exhausted, Unknown
from tests.blocks import origin
from tests.games import run, until


class Peer(IngestServiceServicer):
    """Keeps the messages of each stream; answers while `answering`, else swallows."""

    def __init__(self) -> None:
        self.streams: list[list[PublishRequest]] = []
        self.answering = True
        self.breaking = asyncio.Event()

    async def Publish(
        self, request_iterator: AsyncIterator[PublishRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[PublishResponse]:
        heard: list[PublishRequest] = []
        self.streams.append(heard)
        requests = aiter(request_iterator)
        while True:
            request = asyncio.ensure_future(anext(requests))
            breaking = asyncio.ensure_future(self.breaking.wait())
            await asyncio.wait({request, breaking}, return_when=asyncio.FIRST_COMPLETED)
            breaking.cancel()
            if not request.done():
                request.cancel()
                self.breaking.clear()
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on command")
            heard.append(await request)
            if self.answering:
                for event in heard[-1].events.events:
                    yield answer_to(event)

    @property
    def events(self) -> list[tuple[str, int]]:
        """All identities heard, over all streams."""
        return [
            (e.origin_id, e.origin_seq) for s in self.streams for request in s for e in request.events.events
        ]


def answer_to(event: Event) -> PublishResponse:
    if event.game_id == "unknown":
        reject = Reject(
            origin_id=event.origin_id, origin_seq=event.origin_seq, code=5, message="game 'unknown'"
        )
        return PublishResponse(reject=reject)
    position = Position(partition=1, sequence=event.origin_seq)
    receipt = Receipt(origin_id=event.origin_id, origin_seq=event.origin_seq, position=position)
    return PublishResponse(ack=Ack(receipts=[receipt]))


@contextlib.asynccontextmanager
async def relay_to(peer: Peer) -> AsyncIterator[Relay]:
    server = grpc.aio.server()
    add_IngestServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", own_connection=True) as channel:
        relay = Relay(channel, "gateway-test")
        relay.start()
        try:
            yield relay
        finally:
            await relay.stop()
            await server.stop(None)


def event(seq: int, by: int = 1, **fields: str) -> Event:
    return Event(origin_id=origin(by), origin_seq=seq, **({"game_id": "g", "actor_id": "ann"} | fields))


def test_an_event_is_answered_with_its_position_or_its_refusal() -> None:
    async def scenario() -> None:
        async with relay_to(Peer()) as relay:
            assert (await relay.send(event(7))).sequence == 7
            with pytest.raises(Unknown, match="game 'unknown'"):
                await relay.send(event(8, game_id="unknown"))

    run(scenario())


def test_i2_what_a_broken_stream_left_unanswered_goes_again_under_its_identity() -> None:
    async def scenario() -> None:
        peer = Peer()
        peer.answering = False
        async with relay_to(peer) as relay:
            sends = [asyncio.create_task(relay.send(event(n))) for n in (1, 2, 3)]
            await until(lambda: len(peer.events) == 3, "the events are heard")
            peer.answering = True
            peer.breaking.set()
            assert [(await send).sequence for send in sends] == [1, 2, 3]
            assert sorted(peer.events) == sorted([(origin(1), n) for n in (1, 2, 3)] * 2)

    run(scenario())


def test_no_event_falls_to_a_dead_streams_writer() -> None:
    """A stream that broke while idle must not take what is sent on the next one."""

    async def scenario() -> None:
        peer = Peer()
        async with relay_to(peer) as relay:
            for n in range(1, 6):
                assert (await relay.send(event(n))).sequence == n
                streams = len(peer.streams)
                peer.breaking.set()
                await until(lambda s=streams: len(peer.streams) > s, "a new stream stands")
            assert (await relay.send(event(6))).sequence == 6

    run(scenario(), within_s=20)


def test_an_identity_sent_twice_at_once_is_sent_once() -> None:
    async def scenario() -> None:
        peer = Peer()
        async with relay_to(peer) as relay:
            both = await asyncio.gather(relay.send(event(1)), relay.send(event(1)))
            assert both[0] == both[1]
            assert peer.events == [(origin(1), 1)]

    run(scenario())


def test_an_identity_under_way_with_another_body_is_refused() -> None:
    async def scenario() -> None:
        peer = Peer()
        peer.answering = False
        async with relay_to(peer) as relay:
            first = asyncio.create_task(relay.send(event(1)))
            await until(lambda: peer.events, "the event is heard")
            with pytest.raises(AlreadyDone, match="another body"):
                await relay.send(event(1, actor_id="bob"))
            first.cancel()

    run(scenario())


def test_the_span_of_an_origins_unanswered_numbers_is_bounded_by_its_credit() -> None:
    async def scenario() -> None:
        peer = Peer()
        peer.answering = False
        async with relay_to(peer) as relay:
            first = asyncio.create_task(relay.send(event(1)))
            await until(lambda: peer.events, "the event is heard")
            with pytest.raises(Exhausted, match="at most 64 may be unacked"):
                await relay.send(event(1 + limits.VIEWER_CREDIT))
            other = asyncio.create_task(relay.send(event(1000, by=2)))
            await until(lambda: len(peer.events) == 2, "another origin is not held up")
            for task in (first, other):
                task.cancel()

    run(scenario())


def test_a_thousand_large_events_at_once_go_in_messages_that_ingest_takes() -> None:
    async def scenario() -> None:
        peer = Peer()
        async with relay_to(peer) as relay:
            filler = "x" * 4_000
            sends = [relay.send(event(1, by=n, actor_id=filler)) for n in range(1, 501)]
            await asyncio.gather(*sends)
            sizes = [request.ByteSize() for stream in peer.streams for request in stream]
            assert max(sizes) <= limits.INGEST_MESSAGE_BYTES_MAX

    run(scenario())
