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
from gateway import send_outage
from gateway.relay import Answer, Relay
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import Event, Position, Vote
from grandstand.ingest.v1.ingest_pb2 import Reject
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import AlreadyDone, Exhausted, GrandstandError, NotNow, Unavailable, Unknown
from mesh import limits
from tests.support.blocks import origin
from tests.support.games import run, until
from tests.support.unruly_ingest import Ingest, serving


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


async def send(relay: Relay, sent: Event) -> Position:
    """The answer, for a test that awaits it; leaves when it is cancelled."""
    answer = asyncio.get_running_loop().create_future()
    waiting = relay.submit(sent, answer.set_result)
    try:
        told: Position | GrandstandError = await answer
    finally:
        waiting.cancel()
    if isinstance(told, GrandstandError):
        raise told
    return told


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
            assert [(await send(relay, event(7))).sequence, (await send(relay, event(8))).sequence] == [1, 2]

    run(scenario())


def test_a_final_refusal_is_passed_on() -> None:
    async def scenario() -> None:
        async with relay_to(rejecting(code=5, message="game 'unknown'")) as relay:
            with pytest.raises(Unknown, match=r"^game 'unknown'$"):
                await send(relay, event(1))

    run(scenario())


@pytest.mark.parametrize(("code", "error"), [(8, Exhausted), (14, Unavailable), (4, Unavailable)])
def test_a_refusal_for_now_says_what_to_wait_for(code: int, error: type[GrandstandError]) -> None:
    async def scenario() -> None:
        wait = Duration(nanos=250_000_000)
        peer = rejecting(code=code, message="shed", retryable=True, retry_after=wait)
        async with relay_to(peer) as relay:
            with pytest.raises(error, match=r"^shed; wait 0\.250 s$") as told:
                await send(relay, event(1))
            assert told.value.retry_after_s == 0.25

    run(scenario())


def test_a_refusal_says_if_an_earlier_copy_may_count() -> None:
    async def scenario() -> None:
        peer = rejecting(code=9, message="the poll is closed")
        async with relay_to(peer) as relay:
            peer.hold()
            sending = asyncio.create_task(send(relay, event(1)))
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
            sends = [asyncio.create_task(send(relay, event(n))) for n in (1, 2, 3)]
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
                await send(relay, event(n))
                streams = len(peer.streams)
                peer.streams[-1].cut()
                await until(
                    partial(lambda before: len(peer.streams) > before, streams), "a new stream stands"
                )
            assert (await send(relay, event(6))).sequence == 6

    run(scenario(), within_s=20)


def test_a_draining_ingest_settles_what_it_has_while_the_next_stream_carries_on() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(send(relay, event(1)))
            await until(lambda: heard(peer), "the event is heard")
            peer.streams[0].drain(30.0)
            await until(lambda: len(peer.streams) == 2, "the next stream, at once")
            second = asyncio.create_task(send(relay, event(2)))
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
            sending = asyncio.create_task(send(relay, event(1)))
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
            await send(relay, event(1))
            peer.set_credit(0, "the event log does not answer")
            await until(lambda: relay._outage.reason, "the credit is known")
            with pytest.raises(
                Unavailable, match=r"\(the event log does not answer\); send again with the same"
            ):
                await send(relay, event(2))
            waiting = asyncio.create_task(send(relay, event(3)))
            peer.set_credit(4)
            await waiting
            assert heard(peer) == [(origin(1), 1), (origin(1), 3)], "nobody waits for the second any more"

    run(scenario())


def test_a_token_that_expires_is_followed_by_a_stream_with_a_fresh_one() -> None:
    async def scenario() -> None:
        peer, numbers = Ingest(), itertools.count(1)
        async with relay_to(peer, lambda: f"token-{next(numbers)}") as relay:
            await send(relay, event(1))
            peer.streams[0].warn_of_expiry()
            await until(lambda: peer.streams[0].half_closed, "the old stream is finished")
            await send(relay, event(2))
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
            await send(relay, event(1))
            assert len(set(peer.tokens)) == len(peer.tokens)

    run(scenario())


def test_an_ingest_that_fell_silent_is_given_up_and_what_it_owes_goes_elsewhere() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.heartbeat_s = 0.2
        async with relay_to(peer) as relay:
            await send(relay, event(1))
            await until(lambda: peer.streams[0].heartbeats >= 2, "the relay says that it lives")
            peer.hold()
            peer.beats = False
            sending = asyncio.create_task(send(relay, event(2)))
            await until(lambda: len(peer.streams) == 2, "another stream", within_s=5)
            peer.beats = True
            peer.release()
            await sending

    run(scenario())


def test_an_identity_sent_twice_at_once_is_sent_once() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            both = await asyncio.gather(send(relay, event(1)), send(relay, event(1)))
            assert both[0] == both[1]
            assert heard(peer) == [(origin(1), 1)]

    run(scenario())


def test_who_leaves_hears_nothing_and_the_others_do() -> None:
    async def scenario() -> None:
        peer, told = Ingest(), list[str]()
        peer.hold()
        async with relay_to(peer) as relay:
            leaving = relay.submit(event(1), lambda _: told.append("left"))
            relay.submit(event(1), lambda _: told.append("stayed"))
            leaving.cancel()
            leaving.cancel()
            await until(lambda: heard(peer), "the event is heard")
            peer.release()
            await until(lambda: told, "an answer")
            assert (told, relay.pending) == (["stayed"], 0)
            leaving.cancel()

    run(scenario())


def test_one_that_fails_on_its_answer_keeps_nobody_else_from_theirs() -> None:
    async def scenario() -> None:
        def fail(_: Answer) -> None:
            raise RuntimeError("a test")

        peer = Ingest()
        async with relay_to(peer) as relay:
            relay.submit(event(1), fail)
            await asyncio.gather(send(relay, event(1)), send(relay, event(2)))
            assert len(peer.streams) == 1

    run(scenario())


def test_one_event_is_waited_for_by_so_many_at_most() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            for _ in range(relay_module.WAITERS_MAX):
                relay.submit(event(1), lambda _: None)
            with pytest.raises(Exhausted, match="is under way 16 times") as told:
                relay.submit(event(1), lambda _: None)
            assert told.value.retry_after_s

    run(scenario())


def test_i7_so_many_events_are_unanswered_at_most_and_those_nobody_waits_for_take_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SENDS_PENDING_MAX", 3)

    async def scenario() -> None:
        peer = Ingest()
        peer.welcomes = False
        async with relay_to(peer) as relay:
            waiting = [relay.submit(event(1, by=n), lambda _: None) for n in range(3)]
            with pytest.raises(Exhausted, match="3 events wait for their ack") as told:
                relay.submit(event(1, by=3), lambda _: None)
            assert told.value.retry_after_s == 1.0
            for waiter in waiting:
                waiter.cancel()
            relay.submit(event(1, by=3), lambda _: None)
            batch, _ = relay.batch()
            assert [sent.origin_id for sent in batch.events] == [origin(3)]

    run(scenario())


def test_the_impatient_are_told_in_time_each_after_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "SEND_PATIENCE_S", 0.3)
    monkeypatch.setattr(send_outage, "SILENT_S", 0.0)

    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        told: list[tuple[int, float]] = []
        loop = asyncio.get_running_loop()
        async with relay_to(peer) as relay:
            begin_s = loop.time()

            def submit(number: int) -> None:
                submitted_s = loop.time()

                def tell(answer: Answer) -> None:
                    assert isinstance(answer, Unavailable)
                    told.append((number, loop.time() - submitted_s))

                relay.submit(event(number), tell)

            for number in range(1, 6):
                loop.call_at(begin_s + number * 0.04, submit, number)
            await until(lambda: len(told) == 5, "all are told")
            assert [number for number, _ in told] == [1, 2, 3, 4, 5]
            assert min(after_s for _, after_s in told) >= 0.3
            assert relay.pending == 0
            peer.release()
            assert (await send(relay, event(6))).sequence == 6, "the stream goes on"

    run(scenario())


def test_an_identity_sent_anew_after_its_sender_left_goes_once() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.welcomes = False
        async with relay_to(peer) as relay:
            relay.submit(event(1), lambda _: None).cancel()
            relay.submit(event(1), lambda _: None)
            batch, carried = relay.batch()
            assert (len(batch.events), len(carried)) == (1, 1)

    run(scenario())


def test_what_nobody_waits_for_any_more_is_not_sent_again_after_its_stream_broke() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            leaving = relay.submit(event(1), lambda _: None)
            staying = asyncio.create_task(send(relay, event(2)))
            await until(lambda: len(heard(peer)) == 2, "both are heard")
            leaving.cancel()
            peer.settles = True
            peer.streams[0].cut()
            await staying
            assert heard(peer) == [(origin(1), n) for n in (1, 2, 2)]

    run(scenario())


def test_a_number_that_is_answered_or_left_holds_its_origin_up_no_more() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            await send(relay, event(1))
            await send(relay, event(1 + wire_bounds.VIEWER_CREDIT))
            peer.hold()
            relay.submit(event(2 + wire_bounds.VIEWER_CREDIT), lambda _: None).cancel()
            relay.submit(event(2 + 2 * wire_bounds.VIEWER_CREDIT), lambda _: None)

    run(scenario())


def test_a_batch_carries_one_trace() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.welcomes = False
        async with relay_to(peer) as relay:
            for number, trace in enumerate(["", "", "a", "b", "b", ""], 1):
                relay.submit(event(number), lambda _: None, trace)
            found = [relay.batch()[0] for _ in range(5)]
            assert [(batch.traceparent, len(batch.events)) for batch in found] == [
                ("", 2),
                ("a", 1),
                ("b", 2),
                ("", 1),
                ("", 0),
            ]

    run(scenario())


def test_an_identity_under_way_with_another_body_is_refused() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(send(relay, event(1)))
            await until(lambda: heard(peer), "the event is heard")
            with pytest.raises(AlreadyDone, match="another body"):
                await send(relay, event(1, actor_id="bob"))
            first.cancel()

    run(scenario())


def test_i2_the_span_of_an_origins_unanswered_numbers_is_bounded_by_its_credit() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with relay_to(peer) as relay:
            first = asyncio.create_task(send(relay, event(1)))
            await until(lambda: heard(peer), "the event is heard")
            with pytest.raises(Exhausted, match="at most 64 may be unanswered"):
                await send(relay, event(1 + wire_bounds.VIEWER_CREDIT))
            other = asyncio.create_task(send(relay, event(1000, by=2)))
            await until(lambda: len(heard(peer)) == 2, "another origin is not held up")
            for task in (first, other):
                task.cancel()

    run(scenario())


def test_i2_an_event_that_could_not_be_told_from_a_replay_is_refused() -> None:
    async def scenario() -> None:
        async with relay_to(Ingest()) as relay:
            await send(relay, event(100))
            await send(relay, event(101 - wire_bounds.VIEWER_CREDIT))
            with pytest.raises(NotNow, match="36 lies 64 behind 100"):
                await send(relay, event(100 - wire_bounds.VIEWER_CREDIT))

    run(scenario())


def test_a_thousand_large_events_at_once_go_in_messages_that_ingest_takes() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with relay_to(peer) as relay:
            filler = "x" * 4_000
            await asyncio.gather(*(send(relay, event(1, by=n, actor_id=filler)) for n in range(1, 501)))
            sizes = [request.ByteSize() for stream in peer.streams for request in stream.heard]
            assert max(sizes) <= wire_bounds.INGEST_MESSAGE_BYTES_MAX
            assert len(peer.stored) == 500

    run(scenario())
