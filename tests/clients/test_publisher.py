"""The reference client against an ingest that does its worst, from one loop and from threads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from grandstand.client import (
    Backoff,
    BlockingPublisher,
    BufferFull,
    ClientError,
    Dropped,
    Publisher,
    Receipt,
    Refused,
    SessionLost,
    Shed,
    open_channel,
)
from grandstand.client import connect as connect_module
from grandstand.event.v1.event_pb2 import Custom, Event, Measure, Reaction, Vote
from grandstand.ingest.v1.ingest_pb2 import Reject
from tests.support.games import run, until
from tests.support.proxy import proxy_to
from tests.support.unruly_ingest import Ingest, serving


def vote(actor_id: str = "ann") -> Event:
    return Event(game_id="g", actor_id=actor_id, vote=Vote(poll_id="mvp", option_ids=["red"]))


def measure(actor_id: str = "ann") -> Event:
    return Event(game_id="g", actor_id=actor_id, measure=Measure(metric_id="delay", value=1.0))


def reaction(actor_id: str = "ann") -> Event:
    return Event(game_id="g", actor_id=actor_id, reaction=Reaction(pulse_id="cheer", kind="clap"))


@contextlib.asynccontextmanager
async def publisher_to(ingest: Ingest, **options: Any) -> AsyncIterator[Publisher]:
    """Connected."""
    quick = Backoff(base_s=0.01, cap_s=0.05)
    async with (
        serving(ingest) as port,
        open_channel(f"127.0.0.1:{port}", own_connection=True) as channel,
        Publisher(channel, producer=True, **({"backoff": quick} | options)) as publisher,
    ):
        await publisher.connected(5.0)
        yield publisher


async def outcome(receipt: asyncio.Future[Receipt]) -> Receipt | BaseException:
    return (await asyncio.gather(receipt, return_exceptions=True))[0]


def test_a_receipt_says_where_the_event_is_stored() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        async with publisher_to(ingest) as publisher:
            receipt = await publisher.send(vote("ann"))
            assert (receipt.origin_id, receipt.origin_seq) == (publisher.origin_id, 1)
            assert [(p.partition, p.sequence) for p in receipt.positions] == [(1, 1)]
        assert ingest.streams[0].half_closed, "it ends in good order"

    run(scenario())


def test_i2_what_was_not_acked_goes_again_under_the_same_numbers() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        async with publisher_to(ingest) as publisher:
            await publisher.send(vote("first"))
            ingest.hold()
            receipts = [await publisher.submit(vote(f"a{n}")) for n in range(3)]
            await until(lambda: len(ingest.streams[0].events) == 4, "they are heard")
            ingest.settles = True
            ingest.streams[0].cut()
            assert [(await receipt).origin_seq for receipt in receipts] == [2, 3, 4]
            hello = ingest.streams[1].heard[0].hello
            assert (hello.origin_id, hello.next_origin_seq) == (publisher.origin_id, 2)
            assert publisher.counts.resumed == 1

    run(scenario())


def test_i2_a_session_whose_origin_is_replaced_goes_on_and_says_what_may_be_stored() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        async with publisher_to(ingest) as publisher:
            await publisher.send(vote("first"))
            old = publisher.origin_id
            ingest.hold()
            sent = [await publisher.submit(vote(f"a{n}")) for n in range(3)]
            await until(lambda: len(ingest.streams[0].events) == 4, "they are heard")
            ingest.set_credit(0)
            await until(lambda: publisher.credit == 0, "the credit is known")
            unsent = await publisher.submit(vote("later"))
            ingest.forget_key()
            ingest.credit = 64
            ingest.settles = True
            ingest.streams[0].cut()
            for receipt in sent:
                told = await outcome(receipt)
                assert isinstance(told, Refused)
                assert (told.code, told.maybe_stored) == (grpc.StatusCode.ABORTED, True)
            receipt = await unsent
            assert receipt.origin_id == publisher.origin_id != old
            assert (await publisher.send(vote("last"))).origin_id == publisher.origin_id
            assert ingest.streams[1].heard[0].hello.origin_id == old
            assert publisher.counts.refused == 3
        assert [identity[0] for identity in ingest.stored].count(old) <= 4

    run(scenario())


def test_a_credit_of_nothing_is_obeyed_until_it_grows_again() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        async with publisher_to(ingest) as publisher:
            ingest.set_credit(0, "the event log does not answer")
            await until(lambda: publisher.credit == 0, "the credit is known")
            receipts = [await publisher.submit(vote(f"a{n}")) for n in range(5)]
            ingest.heartbeat_s = 0.1
            assert not ingest.streams[0].events
            ingest.set_credit(2)
            await asyncio.gather(*receipts)
            batches = [len(request.events.events) for request in ingest.streams[0].heard[1:]]
            assert max(batches) <= 2
            assert ingest.actors == [f"a{n}" for n in range(5)]

    run(scenario())


def test_a_drain_costs_nothing_but_its_delay() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        async with publisher_to(ingest) as publisher:
            ingest.hold()
            first = await publisher.submit(vote("first"))
            await until(lambda: ingest.streams[0].events, "it is heard")
            ingest.streams[0].drain(0.3)
            await until(lambda: ingest.streams[0].half_closed, "the client has finished")
            second = await publisher.submit(vote("second"))
            drained_at = asyncio.get_running_loop().time()
            ingest.release()
            assert (await first).origin_seq == 1
            assert (await second).origin_seq == 2
            assert asyncio.get_running_loop().time() - drained_at >= 0.3
            assert [len(stream.events) for stream in ingest.streams] == [1, 1], "nothing was sent twice"

    run(scenario())


def test_a_token_that_expires_is_renewed_before_the_stream_is_cut() -> None:
    async def scenario() -> None:
        ingest, tokens = Ingest(), ["old"]
        async with publisher_to(ingest, token=lambda: tokens[-1]) as publisher:
            await publisher.send(vote("first"))
            ingest.streams[0].warn_of_expiry()
            await publisher.send(vote("second"))
            assert len(ingest.streams) == 1, "there is no other token yet"
            tokens.append("new")
            await until(lambda: len(ingest.streams) == 2, "the next stream")
            await publisher.send(vote("third"))
            assert ingest.tokens == ["old", "new"]
            assert ingest.streams[0].half_closed
            assert ingest.actors == ["first", "second", "third"]

    run(scenario())


def test_a_token_that_is_refused_is_asked_for_once_more_and_then_final() -> None:
    async def scenario() -> None:
        ingest, numbers = Ingest(), itertools.count(1)
        ingest.refuses = grpc.StatusCode.UNAUTHENTICATED, "authorization: the token has expired"
        async with serving(ingest) as port, open_channel(f"127.0.0.1:{port}") as channel:
            publisher = Publisher(channel, token=lambda: f"t{next(numbers)}")
            publisher.start()
            waiting = await publisher.submit(vote())
            with pytest.raises(SessionLost, match="the token has expired; so again with a new token"):
                await waiting
            assert ingest.tokens == ["t1", "t2"]
            with pytest.raises(SessionLost):
                await publisher.submit(vote())
            await publisher.aclose()

    run(scenario())


def test_a_provider_that_fails_for_a_while_is_asked_again() -> None:
    async def scenario() -> None:
        answers: Iterator[str | Exception] = iter([OSError("no route"), OSError("no route"), "token"])

        def provide() -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        ingest = Ingest()
        async with publisher_to(ingest, token=provide) as publisher:
            await publisher.send(vote())
            assert ingest.tokens == ["token"]

    run(scenario())


def test_what_was_shed_is_told_and_counted() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.judge = lambda event: "shed" if event.HasField("measure") else None
        async with publisher_to(ingest) as publisher:
            receipts = [await publisher.submit(event) for event in (vote(), measure(), reaction(), measure())]
            outcomes = [await outcome(receipt) for receipt in receipts]
            assert [type(each) for each in outcomes] == [Receipt, Shed, Receipt, Shed]
            assert not any(each.maybe_stored for each in outcomes if isinstance(each, Shed))
            assert (publisher.counts.acked, publisher.counts.shed) == (2, 2)

    run(scenario())


def test_a_refusal_for_now_only_takes_longer() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        for_now = Reject(code=8, message="beyond the rate", retryable=True)
        ingest.judge = lambda event: for_now if event.origin_seq < 3 else None
        async with publisher_to(ingest) as publisher:
            receipt = await publisher.send(vote())
            assert receipt.origin_seq == 3
            assert (publisher.counts.retried, publisher.counts.refused) == (2, 0)
            assert len(ingest.stored) == 1

    run(scenario())


def test_a_refusal_says_if_an_earlier_attempt_may_be_stored() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.judge = lambda event: Reject(
            code=9, message="closed", retryable=False, maybe_stored=event.actor_id == "ann"
        )
        async with publisher_to(ingest) as publisher:
            for actor_id in ("ann", "bob"):
                refused = await outcome(await publisher.submit(vote(actor_id)))
                assert isinstance(refused, Refused)
                assert (refused.code, refused.maybe_stored) == (
                    grpc.StatusCode.FAILED_PRECONDITION,
                    actor_id == "ann",
                )

    run(scenario())


def test_an_event_that_fits_no_message_is_refused_here() -> None:
    async def scenario() -> None:
        async with publisher_to(Ingest()) as publisher:
            large = Event(game_id="g", custom=Custom(custom_id="c", payload=b"x" * 300_000))
            with pytest.raises(
                ClientError, match=r"INVALID_ARGUMENT: the event has 3000\d\d bytes; at most 261120"
            ):
                await publisher.submit(large)
            await publisher.send(vote())

    run(scenario())


@contextlib.asynccontextmanager
async def full(**options: Any) -> AsyncIterator[tuple[Ingest, Publisher, list[asyncio.Future[Receipt]]]]:
    """A publisher without credit, whose buffer of three holds a reaction, a measure and a vote."""
    ingest = Ingest()
    async with publisher_to(ingest, buffer_events_max=3, **options) as publisher:
        ingest.set_credit(0, "the log is full")
        await until(lambda: publisher.credit == 0, "the credit is known")
        receipts = [await publisher.submit(event) for event in (reaction(), measure(), vote("voter"))]
        yield ingest, publisher, receipts
        ingest.set_credit(8)


def test_a_full_publisher_lets_senders_wait_in_their_order() -> None:
    async def scenario() -> None:
        async with full() as (ingest, publisher, receipts):
            assert publisher.try_submit(vote()) is None
            waiting = [asyncio.create_task(publisher.submit(vote(f"w{n}"))) for n in range(3)]
            done, _ = await asyncio.wait(waiting, timeout=0.1)
            assert not done
            ingest.set_credit(2)
            receipts += await asyncio.gather(*waiting)
            await asyncio.gather(*receipts)
            assert ingest.actors == ["ann", "ann", "voter", "w0", "w1", "w2"]

    run(scenario())


def test_a_full_publisher_that_is_to_refuse_says_why() -> None:
    async def scenario() -> None:
        async with full(when_full="refuse") as (_, publisher, _receipts):
            with pytest.raises(
                BufferFull, match=r"3 events .* of at most 3: a credit of 0 \(the log is full\)"
            ):
                await publisher.submit(vote())

    run(scenario())


def test_a_full_publisher_drops_measures_first_then_reactions_and_never_votes() -> None:
    async def scenario() -> None:
        async with full(when_full="shed-oldest") as (ingest, publisher, receipts):
            later = [await publisher.submit(vote("x")), await publisher.submit(vote("y"))]
            assert isinstance(await outcome(receipts[1]), Dropped)
            assert isinstance(await outcome(receipts[0]), Dropped)
            assert publisher.try_submit(vote("z")) is None
            ingest.set_credit(8)
            await asyncio.gather(receipts[2], *later)
            assert ingest.actors == ["voter", "x", "y"]
            assert publisher.counts.dropped == 2

    run(scenario())


def test_a_callback_gets_the_receipt_or_the_error() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.judge = lambda event: Reject(code=6, message="twice") if event.actor_id == "bob" else None
        answers: list[Receipt | ClientError] = []
        async with publisher_to(ingest) as publisher:
            publisher.post(vote("ann"), answers.append)
            publisher.post(vote("bob"), answers.append)
            await publisher.drain(5.0)
            by_kind = {type(answer): answer for answer in answers}
            assert isinstance(by_kind[Receipt], Receipt)
            assert by_kind[Refused].code is grpc.StatusCode.ALREADY_EXISTS  # type: ignore[union-attr]

    run(scenario())


def test_a_callback_that_fails_does_not_end_the_session() -> None:
    async def scenario() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        async with publisher_to(Ingest()) as publisher:
            publisher.post(vote("ann"), lambda _: 1 / 0)
            await until(lambda: faults, "the fault is reported")
            await publisher.send(vote("bob"))
        assert isinstance(faults[0]["exception"], ZeroDivisionError)

    run(scenario())


def test_events_may_be_posted_from_any_thread_and_no_bound_is_passed() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        answers: queue.SimpleQueue[Receipt | ClientError] = queue.SimpleQueue()
        async with publisher_to(ingest, buffer_events_max=20) as publisher:
            ingest.set_credit(0)
            await until(lambda: publisher.credit == 0, "the credit is known")
            refused: list[BufferFull] = []

            def post(thread: int) -> None:
                for number in range(20):
                    try:
                        publisher.post(vote(f"t{thread}-{number}"), answers.put)
                    except BufferFull as error:
                        refused.append(error)

            threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            # The loop does not turn meanwhile: the bound holds for what it has not taken yet, too.
            for thread in threads:
                thread.join()
            assert (publisher.unsettled, len(refused)) == (20, 60)
            ingest.set_credit(64)
            assert await publisher.drain(5.0) == 0
            assert len(ingest.stored) == 20
            assert all(isinstance(answers.get_nowait(), Receipt) for _ in range(20))

    run(scenario())


def test_a_game_server_without_asyncio_sends_and_posts() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.judge = lambda event: Reject(code=6, message="twice") if event.actor_id == "bob" else None
        async with serving(ingest) as port:

            def play() -> list[Receipt | ClientError]:
                answers: queue.SimpleQueue[Receipt | ClientError] = queue.SimpleQueue()
                with BlockingPublisher(f"127.0.0.1:{port}", producer=True, token="t") as publisher:
                    publisher.connected(5.0)
                    assert publisher.send(vote("ann"), timeout_s=5.0).origin_seq == 1
                    with pytest.raises(Refused, match="twice"):
                        publisher.send(vote("bob"), timeout_s=5.0)
                    for number in range(50):
                        publisher.post(vote(f"a{number}"), answers.put)
                    publisher.drain(5.0)
                    assert publisher.counts.acked == 51
                with pytest.raises(RuntimeError, match="not running"):
                    publisher.send(vote())
                return [answers.get_nowait() for _ in range(50)]

            answers = await asyncio.to_thread(play)
            assert all(isinstance(answer, Receipt) for answer in answers)
            assert ingest.tokens == ["t"]

    run(scenario())


def test_a_blocking_publisher_says_what_is_wrong_with_its_options() -> None:
    with pytest.raises(ValueError, match="buffer_events_max is -1"):
        BlockingPublisher("127.0.0.1:1", buffer_events_max=-1).start()


def test_an_idle_client_and_its_server_keep_each_other_alive() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.heartbeat_s = 0.1
        async with publisher_to(ingest):
            await until(lambda: ingest.streams[0].heartbeats >= 8, "heartbeats for longer than the silence")
            assert len(ingest.streams) == 1

    run(scenario())


def test_a_server_that_vanished_without_a_word_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection: no data, no reset. The real interval of 8 s makes that 24 s."""
    monkeypatch.setattr(connect_module, "KEEPALIVE_MS", 300)

    async def scenario() -> None:
        ingest = Ingest()
        ingest.heartbeat_s = 0.2
        async with (
            serving(ingest) as port,
            proxy_to(port) as proxy,
            open_channel(f"127.0.0.1:{proxy.port}", own_connection=True) as channel,
            Publisher(channel, producer=True, greeting_max_s=0.5) as publisher,
        ):
            await publisher.send(vote("before"))
            proxy.cut_off()
            after = await publisher.submit(vote("after"))
            await until(lambda: publisher.last_break, "it is given up", within_s=5)
            assert (await after).origin_seq == 2
            assert proxy.connections > 1
            assert ingest.actors == ["before", "after"]

    run(scenario())


def test_an_ingest_that_hangs_behind_a_live_connection_is_given_up() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.heartbeat_s = 0.2
        async with publisher_to(ingest) as publisher:
            ingest.hold()
            ingest.beats = False
            receipt = await publisher.submit(vote())
            await until(lambda: len(ingest.streams) == 2, "the next stream", within_s=5)
            assert "nothing was heard for" in publisher.last_break
            ingest.release()
            assert (await receipt).origin_seq == 1

    run(scenario())


def test_an_ingest_that_does_not_welcome_is_given_up() -> None:
    async def scenario() -> None:
        ingest = Ingest()
        ingest.welcomes, ingest.beats = False, False
        async with serving(ingest) as port, open_channel(f"127.0.0.1:{port}") as channel:
            publisher = Publisher(channel, producer=True, greeting_max_s=0.3)
            publisher.start()
            with pytest.raises(ClientError, match=r"DEADLINE_EXCEEDED: no Welcome within 0\.3 s"):
                await publisher.connected(1.0)
            ingest.welcomes = True
            await publisher.connected(5.0)
            await publisher.aclose()

    run(scenario())
