"""Bad input, by the thousand: the right code, a message that names what is wrong, no growth (I7, I10).

The cores first, without I/O: whatever the bytes are, each number taken is told of exactly once, and
what reaches a block is sound. Then a real ingest on a real NATS, while a stream beside goes on.

What came of GRANDSTAND_FUZZ_SEED=7 is played again by it; GRANDSTAND_FUZZ_STREAMS and
GRANDSTAND_FUZZ_MESSAGES make the run longer (1,000,000 messages take some minutes).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from grandstand.event.v1.event_pb2 import Event, Position, Score, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest, PublishResponse
from grandstand.internal.v1.internal_pb2 import Incoming
from ingest.admission import Admission
from ingest.check import Checker
from ingest.coalesce import Batch, Coalescer
from ingest.intake import Intake, Relayed, Ticket
from ingest.pressure import Pressure
from ingest.session import Input, Session
from mesh import limits
from mesh.auth.identity import Identity
from mesh.catalog import CatalogView
from mesh.errors import BY_CODE, GrandstandError, Invalid, Unknown
from tests.games import run
from tests.hostile import BYTES, VARINT, Hostile, field, origin, varint
from tests.lone_ingest import (
    CONNECTION,
    GAME,
    PUBLISH,
    LoneIngest,
    RawStream,
    definitions,
    lone_ingest,
    witness,
)

NOW_S = 1_800_000_000.0
CODES = set(BY_CODE)
MESSAGE_CHARACTERS_MAX = 700

Code = grpc.StatusCode
SEED = int(os.environ.get("GRANDSTAND_FUZZ_SEED", "1"))
STREAMS = int(os.environ.get("GRANDSTAND_FUZZ_STREAMS", "400"))
MESSAGES = int(os.environ.get("GRANDSTAND_FUZZ_MESSAGES", "20000"))
PATIENCE_S = 60 + MESSAGES / 2_000 + STREAMS / 20
GROWTH_BYTES_MAX = 24 * 1024 * 1024


def catalog() -> CatalogView:
    view = CatalogView()
    for revision, (key, definition) in enumerate(definitions().items(), start=1):
        view.put(key, revision, definition.SerializeToString())
    return view


def assert_readable(error: GrandstandError) -> None:
    """A person can read it, and a log or a header can hold it."""
    assert error.code in CODES, error
    assert error.message.isprintable(), repr(error.message)
    assert 0 < len(error.message) <= MESSAGE_CHARACTERS_MAX, error.message


class Client:
    """One stream without its I/O: what it was told, by number."""

    is_gone = False
    is_relayed = False

    def __init__(self, identity: Identity) -> None:
        self.session = Session()
        self.identity = identity
        self.coalescer: Coalescer[Ticket] = Coalescer()
        self.pressure = Pressure()
        self.intake = Intake(Checker(catalog()), self.coalescer, Admission(), self.pressure)
        self.told: Counter[int] = Counter()

    def stored(self, first: int, last: int, position: Position) -> None:
        self.told.update(range(first, last + 1))
        self.session.settled(first, last, position)

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        assert_readable(error)
        self.told[seq] += 1
        self.session.settled(seq, seq, None)

    def shed(self, seq: int) -> None:
        self.told[seq] += 1
        self.session.settled(seq, seq, None, shed=True)

    def relayed(self, origin_id: str) -> Ticket:
        return Relayed(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        assert_readable(error)
        self.session.relayed_refused()

    def hear(self, data: bytes) -> None:
        """As ingest.stream takes a message. Raises GrandstandError where the stream ends."""
        try:
            message = Incoming.FromString(data)
            if message.WhichOneof("message") == "hello":
                hello = Hello.FromString(message.hello)
        except DecodeError:
            raise Invalid(f"message: {len(data)} bytes that are no PublishRequest") from None
        match message.WhichOneof("message"):
            case "hello":
                self.session.hello(hello, self.identity, now_s=NOW_S, entropy=bytes(12))
            case "heartbeat":
                self.session.step(Input.HEARTBEAT)
            case "events":
                unheard: list[tuple[object, Unknown]] = []
                try:
                    self.intake.take(self, message.events.events, NOW_S, 0.0, unheard)
                finally:
                    self.intake.take_unheard(self, unheard, NOW_S, 0.0)
            case _:
                raise Invalid(f"message: {len(data)} bytes without hello, events or heartbeat")

    def store(self) -> list[Batch[Ticket]]:
        """All blocks are stored; returns them."""
        batches = self.coalescer.take_due(math.inf)
        for sequence, batch in enumerate(batches, start=1):
            for each in batch.runs:
                each.ticket.stored(
                    each.first, each.last, Position(partition=batch.partition, sequence=sequence)
                )
        return batches


def assert_sound(batch: Batch[Ticket]) -> None:
    """What reaches a block can be folded."""
    assert 0 <= batch.partition < limits.PARTITIONS
    block = batch.encode(int(NOW_S * 1e9)).events
    assert sum(section.rows for section in block.sections) == batch.count
    for _, seq, _, _, judged in batch.entries():
        assert 1 <= seq < 2**63
        assert judged.place[0] == GAME
        if judged.kind == "measure":
            assert math.isfinite(judged.value)
        if judged.kind == "score":
            assert abs(judged.value) <= limits.POINTS_MAX
    for actor_id in batch.actor_ids():
        assert 1 <= len(actor_id) <= limits.ID_CHARACTERS_MAX
        assert actor_id.isascii()


IDENTITIES = (
    Identity("ann", False, None, NOW_S + 60),
    Identity("ann", False, frozenset(["other"]), NOW_S + 60),
    Identity("", True, None, NOW_S + 60),
    Identity("srv", True, frozenset([GAME]), NOW_S + 60),
)


def play(client: Client, messages: list[bytes]) -> None:
    """Until the stream ends; what holds whatever came."""
    for data in messages:
        try:
            client.hear(data)
        except GrandstandError as error:
            assert_readable(error)
            break
    for batch in client.store():
        assert_sound(batch)
    session = client.session
    assert session.unsettled == 0
    assert session.acked == session.next_seq - 1
    assert all(count == 1 for count in client.told.values())
    taken = sorted(client.told)
    assert not taken or taken == list(range(taken[0], session.next_seq))
    assert session.relayed == 0


@given(st.integers(0, 2**32), st.sampled_from(IDENTITIES), st.sampled_from(["", "as the token", "late"]))
def test_whatever_comes_each_number_taken_is_told_of_once_and_blocks_are_sound(
    seed: int, identity: Identity, greeting: str
) -> None:
    hostile = Hostile(seed, NOW_S, GAME)
    hello = Hello(producer=identity.producer)
    if greeting == "late":
        hello.next_origin_seq = hostile.next_seq = 2**63 - 20
        hello.origin_id = origin("p" if identity.producer else "v", NOW_S)
    elif not greeting:
        hello = hostile.hello()
    messages = [hostile.message() for _ in range(hostile.random.randint(1, 8))]
    play(Client(identity), [PublishRequest(hello=hello).SerializeToString(), *messages])


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(IDENTITIES))
def test_arbitrary_bytes_end_a_stream_with_a_reason(messages: list[bytes], identity: Identity) -> None:
    client = Client(identity)
    client.session.hello(Hello(producer=identity.producer), identity, now_s=NOW_S, entropy=bytes(12))
    play(client, messages)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    with lone_ingest(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


def score(origin_seq: int, **fields: object) -> Event:
    return Event(
        **({"origin_seq": origin_seq, "game_id": GAME, "score": Score(board_id="top", points=1)} | fields)
    )  # type: ignore[arg-type]


def said(**fields: object) -> bytes:
    return PublishRequest(**fields).SerializeToString()  # type: ignore[arg-type]


def batch(*events: Event) -> bytes:
    return said(events=EventBatch(events=events))


def now_s() -> float:
    return time.time()


HELLO = said(hello=Hello())
YEAR_S = 365 * 86_400

ENDINGS: dict[str, tuple[Callable[[], list[bytes]], Code, str]] = {
    "nothing is not a message": (lambda: [b""], Code.INVALID_ARGUMENT, "0 bytes without hello, events"),
    "noise": (lambda: [b"\xff" * 40], Code.INVALID_ARGUMENT, "40 bytes that are no PublishRequest"),
    "a truncated message": (
        lambda: [HELLO, batch(score(1))[:-3]],
        Code.INVALID_ARGUMENT,
        "that are no PublishRequest",
    ),
    "a varint of 200 bits": (
        lambda: [HELLO, field(2, VARINT, varint(2**200))],
        Code.INVALID_ARGUMENT,
        "that are no PublishRequest",
    ),
    "a length that lies": (
        lambda: [HELLO, varint(2 << 3 | BYTES) + varint(2**63) + b"x"],
        Code.INVALID_ARGUMENT,
        "that are no PublishRequest",
    ),
    "events of the wrong type": (
        lambda: [HELLO, field(2, VARINT, varint(7))],
        Code.INVALID_ARGUMENT,
        "without hello, events or heartbeat",
    ),
    "text that is no UTF-8": (
        lambda: [HELLO, field(2, BYTES, field(1, BYTES, field(3, BYTES, b"\xff\xfe")))],
        Code.INVALID_ARGUMENT,
        "that are no PublishRequest",
    ),
    "a hello that is none": (lambda: [field(1, BYTES, b"\xff")], Code.INVALID_ARGUMENT, "that are no Hello"),
    "events before hello": (
        lambda: [batch(score(1))],
        Code.INVALID_ARGUMENT,
        "hello expected first, got events",
    ),
    "a heartbeat before hello": (
        lambda: [said(heartbeat=Heartbeat())],
        Code.INVALID_ARGUMENT,
        "hello expected first, got heartbeat",
    ),
    "a second hello": (
        lambda: [HELLO, HELLO],
        Code.INVALID_ARGUMENT,
        "a second hello; events or heartbeat expected",
    ),
    "an empty batch": (lambda: [HELLO, batch()], Code.INVALID_ARGUMENT, "a batch of 0; 1 to 1000"),
    "a batch too long": (
        lambda: [HELLO, batch(*[Event(origin_seq=n) for n in range(1, 1_002)])],
        Code.INVALID_ARGUMENT,
        "a batch of 1001; 1 to 1000",
    ),
    "a number that goes back": (
        lambda: [HELLO, batch(score(1), score(2), score(1))],
        Code.INVALID_ARGUMENT,
        "origin_seq: 1 after 2; 3 expected",
    ),
    "a number that jumps": (
        lambda: [HELLO, batch(score(9))],
        Code.INVALID_ARGUMENT,
        "origin_seq: 9 after 0; 1 expected",
    ),
    "no number": (
        lambda: [HELLO, batch(score(0))],
        Code.INVALID_ARGUMENT,
        "origin_seq: 0 after 0; 1 expected",
    ),
    "a number of 64 bits": (
        lambda: [HELLO, batch(score(2**64 - 1))],
        Code.INVALID_ARGUMENT,
        f"origin_seq: {2**64 - 1} after 0; 1 expected",
    ),
    "numbers used up": (
        lambda: [
            said(hello=Hello(origin_id=origin("v", now_s()), next_origin_seq=2**63 - 1)),
            batch(score(2**63 - 1), score(2**63)),
        ],
        Code.FAILED_PRECONDITION,
        "the origin's numbers are used up; open a new origin",
    ),
    "a resume point beyond all numbers": (
        lambda: [said(hello=Hello(origin_id=origin("v", now_s()), next_origin_seq=2**63))],
        Code.INVALID_ARGUMENT,
        f"hello.next_origin_seq: is {2**63}; at most 2^63-1",
    ),
    "a resume point without an origin": (
        lambda: [said(hello=Hello(next_origin_seq=2))],
        Code.INVALID_ARGUMENT,
        "is 2 without hello.origin_id; a new origin starts at 1",
    ),
    "an origin from the future": (
        lambda: [said(hello=Hello(origin_id=origin("v", now_s() + 3 * YEAR_S)))],
        Code.INVALID_ARGUMENT,
        "s in the future; ask for a new one",
    ),
    "an origin of long ago": (
        lambda: [said(hello=Hello(origin_id=origin("v", now_s() - 3 * YEAR_S)))],
        Code.INVALID_ARGUMENT,
        "h old; an origin lives 24 h, ask for a new one",
    ),
    "an origin that is none": (
        lambda: [said(hello=Hello(origin_id="v\u0000\u202e'; drop"))],
        Code.INVALID_ARGUMENT,
        "is not an origin id; leave it empty",
    ),
    "a producer's origin": (
        lambda: [said(hello=Hello(origin_id=origin("p", now_s())))],
        Code.INVALID_ARGUMENT,
        "hello.producer: False does not fit origin p",
    ),
    "a client's name without an end": (
        lambda: [said(hello=Hello(client="\U0001f4a5" * 5_000))],
        Code.INVALID_ARGUMENT,
        "(5000 characters) has 5000 characters; at most 64",
    ),
    "an actor with control characters": (
        lambda: [said(hello=Hello(actor_id="a\x1b[31m"))],
        Code.INVALID_ARGUMENT,
        r"hello.actor_id: 'a\x1b[31m' has the character '\x1b'",
    ),
    "somebody else": (
        lambda: [said(hello=Hello(actor_id="bob"))],
        Code.PERMISSION_DENIED,
        "hello.actor_id: 'bob' is not the token's actor 'ann'",
    ),
    "a producer without the role": (
        lambda: [said(hello=Hello(producer=True))],
        Code.PERMISSION_DENIED,
        "hello.producer: the token has not the role producer",
    ),
    "a relayed event of a viewer": (
        lambda: [HELLO, batch(score(1, origin_id=origin("v", now_s())))],
        Code.INVALID_ARGUMENT,
        "event.origin_id: only a producer may relay",
    ),
    "more than the credit at once": (
        lambda: [HELLO, batch(*map(score, range(1, limits.VIEWER_CREDIT + 2)))],
        Code.RESOURCE_EXHAUSTED,
        f"at most {limits.VIEWER_CREDIT} may be unacked, wait for acks",
    ),
    "a message beyond the limit": (
        lambda: [HELLO, batch(score(1, actor_id="x" * limits.INGEST_MESSAGE_BYTES_MAX))],
        Code.RESOURCE_EXHAUSTED,
        str(limits.INGEST_MESSAGE_BYTES_MAX),
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_a_stream_that_breaks_the_rules_ends_with_its_code_and_nobody_else_notices(
    ingest: LoneIngest, case: str
) -> None:
    make, code, message = ENDINGS[case]

    async def scenario() -> None:
        async with witness(ingest):
            with ingest.channel() as channel:
                async with RawStream(channel, ingest.token()) as stream:
                    for data in make():
                        stream.say(data)
                    ended, details, _ = await stream.ending()
            assert (ended, details) == (code, details)
            assert message in details
            assert details.isprintable()

    run(scenario(), PATIENCE_S)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_measure_that_is_no_number_is_rejected_alone(ingest: LoneIngest, value: float) -> None:
    async def scenario() -> None:
        measure = Event(origin_seq=1, game_id=GAME)
        measure.measure.metric_id, measure.measure.value = "delay", value
        with ingest.channel() as channel:
            async with RawStream(channel, ingest.token()) as stream:
                stream.request(hello=Hello())
                stream.events(measure, score(2))
                stream.half_close()
                code, details, heard = await stream.ending()
        assert code == Code.OK, details
        (reject,) = [response.reject for response in heard if response.HasField("reject")]
        assert (reject.origin_seq, reject.code, reject.retryable) == (1, 3, False)
        assert "measure.value: " in reject.message
        assert heard[-1].ack.origin_seq == 2

    run(scenario())


OK_ENDINGS = {
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.RESOURCE_EXHAUSTED,
    Code.FAILED_PRECONDITION,
    Code.PERMISSION_DENIED,
}


def assert_answers(responses: list[PublishResponse], seed: int) -> None:
    """Welcome first; acks only grow; refusals can be read; each number is settled once."""
    acked, refused = 0, set()
    for at, response in enumerate(responses):
        kind = response.WhichOneof("message")
        assert kind is not None, f"seed {seed}"
        assert (at == 0) == (kind == "welcome"), f"seed {seed}: {kind} is message {at}"
        if kind == "ack":
            assert response.ack.origin_seq >= acked, f"seed {seed}"
            acked = response.ack.origin_seq
        elif kind == "reject":
            reject = response.reject
            assert reject.code in CODES, f"seed {seed}: {reject}"
            assert reject.message.isprintable(), f"seed {seed}: {reject}"
            assert 0 < len(reject.message) <= MESSAGE_CHARACTERS_MAX, f"seed {seed}: {reject}"
            if not reject.origin_id:
                assert reject.origin_seq > acked, f"seed {seed}: refused after it was acked: {reject}"
                assert reject.origin_seq not in refused, f"seed {seed}: refused twice: {reject}"
                refused.add(reject.origin_seq)


async def converse(ingest: LoneIngest, channel: grpc.Channel, seed: int) -> tuple[Code, str]:
    """One hostile client from its Hello to the end of its stream."""
    hostile = Hostile(seed, now_s(), GAME)
    producer = hostile.odd(0.5)
    token = ingest.producer_token("srv") if producer else ingest.token(f"a{seed % 100}")
    hello = hostile.hello() if hostile.odd(0.1) else Hello(producer=producer)
    async with RawStream(channel, token) as stream:
        if not hostile.odd(0.03):
            stream.request(hello=hello)
        for _ in range(hostile.random.randint(1, 8)):
            stream.say(hostile.message())
        stream.half_close()
        code, details, heard = await stream.ending()
    assert code in OK_ENDINGS, f"seed {seed}: {code}: {details}"
    assert (code is Code.OK) or details, f"seed {seed}: {code} without a reason"
    assert details.isprintable(), f"seed {seed}: {details!r}"
    assert_answers(heard, seed)
    return code, details


def test_hostile_streams_end_with_a_reason_and_leave_nothing_behind(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        codes: Counter[Code] = Counter()

        async def some(first: int, count: int) -> None:
            with ingest.channel() as channel:
                for seed in range(first, first + count):
                    async with asyncio.timeout(30):
                        codes[(await converse(ingest, channel, seed))[0]] += 1

        async with witness(ingest) as beside:
            await some(SEED, STREAMS // 4)  # what is made once is not growth
            before = ingest.rss_bytes()
            share = STREAMS // 4
            await asyncio.gather(*(some(SEED + (1 + at) * share, share) for at in range(3)))
        assert ingest.rss_bytes() - before < GROWTH_BYTES_MAX
        assert set(codes) >= {Code.OK, Code.INVALID_ARGUMENT}, codes
        assert beside.slowest_s < 5.0

    run(scenario(), PATIENCE_S)


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
            assert f"larger than max ({len(huge)} vs. {limits.INGEST_MESSAGE_BYTES_MAX})" in details
            assert ingest.peak_bytes() - before < GROWTH_BYTES_MAX

    run(scenario(), PATIENCE_S)


def test_padding_that_differs_from_vote_to_vote_takes_no_memory(ingest: LoneIngest) -> None:
    """What is remembered of bodies is bounded in bytes, not only in number."""
    # Few enough for an actor's burst, or they would be paced.
    count, padding = limits.ACTOR_BURST_EVENTS, 200_000

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
    refused_each = limits.VIEWER_CREDIT

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
                    for seq in range(2, 2 + 2 * limits.VIEWER_CREDIT):
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


def test_metadata_without_end_is_refused(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with witness(ingest):
            with ingest.channel() as channel:
                async with RawStream(channel, "x" * 20_000) as stream:
                    stream.say(HELLO)
                    code, details, _ = await stream.ending()
            assert code in (Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED), details
            assert details

    run(scenario(), PATIENCE_S)
