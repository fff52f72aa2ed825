"""The gateway's stream to ingest: nothing is lost or sent twice at once, whatever the stream does.

The other side is a real grpc.aio server that answers, stays silent or breaks on command.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway import relay as relay_module
from gateway.relay import Relay
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import Reject
from mesh import limits
from mesh.client import open_channel
from mesh.errors import AlreadyDone, Exhausted, NotNow, Unavailable, Unknown
from tests.blocks import origin
from tests.games import run, until
from tests.unruly_ingest import Ingest, serving


@contextlib.asynccontextmanager
async def relay_to(peer: Ingest, token: Callable[[], str] | None = None) -> AsyncIterator[Relay]:
    async with serving(peer) as port, open_channel(f"127.0.0.1:{port}", own_connection=True) as channel:
        relay = Relay(channel, "gateway-test", token)
        relay.start()
        try:
            yield relay
        finally:
            await relay.stop()


def event(seq: int, by: int = 1, actor_id: str = "ann") -> Event:
    vote = Vote(poll_id="mvp", option_ids=["red"])
    return Event(origin_id=origin(by), origin_seq=seq, game_id="g", actor_id=actor_id, vote=vote)


def heard(peer: Ingest) -> list[tuple[str, int]]:
    """All identities that came, over all streams."""
    return [(e.origin_id, e.origin_seq) for stream in peer.streams for e in stream.events]


def rejecting(**fields: object) -> Ingest:
    """An ingest that refuses everything so."""
    peer = Ingest()
    peer.judge = lambda _: Reject(**fields)  # type: ignore[arg-type]
    return peer


def test_an_event_is_answered_with_its_position() -> None:
    async def scenario() -> None:
        async with relay_to(Ingest()) as relay:
            assert [(await relay.send(event(7))).sequence, (await relay.send(event(8))).sequence] == [1, 2]

    run(scenario())


def test_a_final_refusal_is_passed_on() -> None:
    async def scenario() -> None:
        async with relay_to(rejecting(code=5, message="game 'unknown'")) as relay:
            with pytest.raises(Unknown, match=r"^game 'unknown'$"):
                await relay.send(event(1))

    run(scenario())


@pytest.mark.parametrize(("code", "error"), [(8, Exhausted), (14, Unavailable), (4, Unavailable)])
def test_a_refusal_for_now_says_what_to_wait_for(code: int, error: type[Exception]) -> None:
    async def scenario() -> None:
        wait = Duration(nanos=250_000_000)
        peer = rejecting(code=code, message="shed", retryable=True, retry_after=wait)
        async with relay_to(peer) as relay:
            with pytest.raises(error, match=r"^shed; wait 0\.250 s$"):
                await relay.send(event(1))

    run(scenario())


def test_a_refusal_says_if_an_earlier_copy_may_count() -> None:
    async def scenario() -> None:
        peer = rejecting(code=9, message="the poll is closed")
        async with relay_to(peer) as relay:
            peer.hold()
            sending = asyncio.create_task(relay.send(event(1)))
            await until(lambda: heard(peer), "the event is heard")
            peer.settles = True
            peer.streams[0].cut()
            with pytest.raises(
                NotNow, match=r"the poll is closed \(an earlier copy of the event may be stored"
            ):
                await sending

    run(scenario())


def test_i2_what_a_broken_stream_left_unanswered_goes_again_under_its_identity() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            sends = [asyncio.create_task(relay.send(event(n))) for n in (1, 2, 3)]
            await until(lambda: len(heard(peer)) == 3, "the events are heard")
            peer.settles = True
            peer.streams[0].cut()
            await asyncio.gather(*sends)
            assert heard(peer) == [(origin(1), n) for n in (1, 2, 3)] * 2
            assert len(peer.stored) == 3

    run(scenario())


def test_no_event_falls_to_a_dead_streams_writer() -> None:
    """A stream that broke while idle must not take what is sent on the next one."""

    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            for n in range(1, 6):
                await relay.send(event(n))
                streams = len(peer.streams)
                peer.streams[-1].cut()
                await until(
                    partial(lambda before: len(peer.streams) > before, streams), "a new stream stands"
                )
            assert (await relay.send(event(6))).sequence == 6

    run(scenario(), within_s=20)


def test_a_draining_ingest_settles_what_it_has_while_the_next_stream_carries_on() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(relay.send(event(1)))
            await until(lambda: heard(peer), "the event is heard")
            peer.streams[0].drain(30.0)
            await until(lambda: len(peer.streams) == 2, "the next stream, at once")
            second = asyncio.create_task(relay.send(event(2)))
            await until(lambda: peer.streams[1].events, "what is new comes on it")
            assert peer.streams[0].half_closed
            peer.release()
            await asyncio.gather(first, second)
            assert heard(peer) == [(origin(1), 1), (origin(1), 2)], "nothing was sent again"

    run(scenario())


def test_i2_an_ingest_that_dies_while_it_drains_loses_nothing() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            sending = asyncio.create_task(relay.send(event(1)))
            await until(lambda: heard(peer), "the event is heard")
            peer.streams[0].drain(0.0)
            await until(lambda: len(peer.streams) == 2, "the next stream")
            peer.settles = True
            peer.streams[0].cut()
            await sending
            assert heard(peer) == [(origin(1), 1)] * 2

    run(scenario())


def test_while_nothing_can_be_stored_what_is_unsent_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SEND_PATIENCE_S", 0.5)

    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            await relay.send(event(1))
            peer.set_credit(0, "the event log does not answer")
            await until(lambda: relay.held_back, "the credit is known")
            with pytest.raises(
                Unavailable, match=r"\(the event log does not answer\); send again with the same"
            ):
                await relay.send(event(2))
            waiting = asyncio.create_task(relay.send(event(3)))
            peer.set_credit(4)
            await waiting
            assert heard(peer) == [(origin(1), 1), (origin(1), 3)], "nobody waits for the second any more"

    run(scenario())


def test_a_token_that_expires_is_followed_by_a_stream_with_a_fresh_one() -> None:
    async def scenario() -> None:
        peer, numbers = Ingest(), itertools.count(1)
        async with relay_to(peer, lambda: f"token-{next(numbers)}") as relay:
            await relay.send(event(1))
            peer.streams[0].warn_of_expiry()
            await until(lambda: peer.streams[0].half_closed, "the old stream is finished")
            await relay.send(event(2))
            assert peer.tokens[0] == "token-1"
            assert len(peer.streams) == 2
            assert peer.tokens[1] not in ("", "token-1")

    run(scenario())


def test_a_token_that_is_not_taken_is_minted_afresh_until_one_is() -> None:
    async def scenario() -> None:
        peer, numbers = Ingest(), itertools.count(1)
        peer.refuses = grpc.StatusCode.UNAUTHENTICATED, "the key is not known"
        async with relay_to(peer, lambda: f"token-{next(numbers)}") as relay:
            await until(lambda: len(peer.tokens) > 3, "several attempts")
            peer.refuses = None
            await relay.send(event(1))
            assert len(set(peer.tokens)) == len(peer.tokens)

    run(scenario())


def test_an_ingest_that_fell_silent_is_given_up_and_what_it_owes_goes_elsewhere() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.heartbeat_s = 0.2
        async with relay_to(peer) as relay:
            await relay.send(event(1))
            await until(lambda: peer.streams[0].heartbeats >= 2, "the relay says that it lives")
            peer.hold()
            peer.beats = False
            sending = asyncio.create_task(relay.send(event(2)))
            await until(lambda: len(peer.streams) == 2, "another stream", within_s=5)
            peer.beats = True
            peer.release()
            await sending

    run(scenario())


def test_an_identity_sent_twice_at_once_is_sent_once() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            both = await asyncio.gather(relay.send(event(1)), relay.send(event(1)))
            assert both[0] == both[1]
            assert heard(peer) == [(origin(1), 1)]

    run(scenario())


def test_an_identity_under_way_with_another_body_is_refused() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(relay.send(event(1)))
            await until(lambda: heard(peer), "the event is heard")
            with pytest.raises(AlreadyDone, match="another body"):
                await relay.send(event(1, actor_id="bob"))
            first.cancel()

    run(scenario())


def test_i2_the_span_of_an_origins_unanswered_numbers_is_bounded_by_its_credit() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(relay.send(event(1)))
            await until(lambda: heard(peer), "the event is heard")
            with pytest.raises(Exhausted, match="at most 64 may be unanswered"):
                await relay.send(event(1 + limits.VIEWER_CREDIT))
            other = asyncio.create_task(relay.send(event(1000, by=2)))
            await until(lambda: len(heard(peer)) == 2, "another origin is not held up")
            for task in (first, other):
                task.cancel()

    run(scenario())


def test_i2_an_event_that_could_not_be_told_from_a_replay_is_refused() -> None:
    async def scenario() -> None:
        async with relay_to(Ingest()) as relay:
            await relay.send(event(100))
            await relay.send(event(101 - limits.VIEWER_CREDIT))
            with pytest.raises(NotNow, match="36 lies 64 behind 100"):
                await relay.send(event(100 - limits.VIEWER_CREDIT))

    run(scenario())


def test_a_thousand_large_events_at_once_go_in_messages_that_ingest_takes() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            filler = "x" * 4_000
            await asyncio.gather(*(relay.send(event(1, by=n, actor_id=filler)) for n in range(1, 501)))
            sizes = [request.ByteSize() for stream in peer.streams for request in stream.heard]
            assert max(sizes) <= limits.INGEST_MESSAGE_BYTES_MAX
            assert len(peer.stored) == 500

    run(scenario())
