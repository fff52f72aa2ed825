"""Bad input, by the thousand: the right code, a message that names what is wrong, no growth (I7, I10).

The cores first, without I/O: whatever the bytes are, each number taken is told of exactly once, and
what reaches a block is sound. Then a real ingest on a real NATS, while a stream beside goes on; all that
it says has its row in docs/rejections.md.

What came of GRANDSTAND_FUZZ_SEED=7 is played again by it; GRANDSTAND_FUZZ_STREAMS makes the run longer.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Iterator

import grpc.aio
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest, PublishResponse
from grandstand.internal.v1.internal_pb2 import Incoming
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import GrandstandError, Invalid, Unknown
from ingest.admission import Admission
from ingest.check import Checker
from ingest.coalesce import Batch, Coalescer
from ingest.intake import Intake, RelayedTicket, Ticket
from ingest.pressure import Pressure
from ingest.session import IngestSession, Input
from mesh.auth import Identity
from mesh.catalog.view import CatalogView
from tests.support.blocks import origins_of_tests
from tests.support.games import run
from tests.support.hostile import Hostile
from tests.support.lone_ingest import GAME, LoneIngest, RawStream, definitions, lone_ingest, witness
from tests.support.rejections import assert_documented

NOW_S = 1_800_000_000.0
MESSAGE_CHARACTERS_MAX = 700

Code = grpc.StatusCode
SEED = int(os.environ.get("GRANDSTAND_FUZZ_SEED", "1"))
STREAMS = int(os.environ.get("GRANDSTAND_FUZZ_STREAMS", "400"))
PATIENCE_S = 60 + STREAMS / 20
GROWTH_BYTES_MAX = 24 * 1024 * 1024


def catalog() -> CatalogView:
    view = CatalogView()
    for revision, (key, definition) in enumerate(definitions().items(), start=1):
        view.put(key, revision, definition.SerializeToString())
    return view


def assert_readable(error: GrandstandError) -> None:
    """A person can read it, and a log or a header can hold it."""
    assert_documented(error.code, error.message)
    assert error.message.isprintable(), repr(error.message)
    assert 0 < len(error.message) <= MESSAGE_CHARACTERS_MAX, error.message


class Client:
    """One stream without its I/O: what it was told, by number."""

    is_gone = False
    is_relayed = False

    def __init__(self, identity: Identity) -> None:
        self.session = IngestSession()
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
        return RelayedTicket(self, origin_id)

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
                self.session.hello(
                    *(hello, self.identity, origins_of_tests()), now_s=NOW_S, at_s=0.0, entropy=bytes(5)
                )
            case "heartbeat":
                self.session.step(Input.HEARTBEAT)
            case "events":
                unresolved: list[tuple[object, Unknown]] = []
                try:
                    self.intake.take(self, message.events.events, NOW_S, 0.0, unresolved)
                finally:
                    self.intake.take_unresolved(self, unresolved, NOW_S, 0.0)
            case _:
                raise Invalid(
                    f"message: hello, events or heartbeat expected, got none of them in {len(data)} bytes"
                )

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
    assert 0 <= batch.partition < wire_bounds.PARTITIONS
    block = batch.encode(int(NOW_S * 1e9)).events
    assert sum(section.rows for section in block.sections) == batch.count
    for _, seq, _, _, validated in batch.entries():
        assert 1 <= seq < 2**63
        assert validated.place[0] == GAME
        if validated.kind == "measure":
            assert math.isfinite(validated.value)
        if validated.kind == "score":
            assert abs(validated.value) <= wire_bounds.POINTS_MAX
    for actor_id in batch.actor_ids():
        assert 1 <= len(actor_id.encode()) <= wire_bounds.ACTOR_ID_BYTES_MAX
        assert "\n" not in actor_id


IDENTITIES = (
    Identity("ann", False, None, NOW_S + 60),
    Identity("ann", False, frozenset(["other"]), NOW_S + 60),
    Identity("", True, None, NOW_S + 60),
    Identity("", True, None, NOW_S + 60, of_mesh=True),
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
        hello.origin_id = origins_of_tests().issue(
            Identity(identity.actor_id, identity.producer, None, NOW_S, of_mesh=True),
            producer=identity.producer,
            now_s=NOW_S,
            at_s=0.0,
            entropy=bytes(5),
        )
    elif not greeting:
        hello = hostile.hello()
    messages = [hostile.message() for _ in range(hostile.random.randint(1, 8))]
    play(Client(identity), [PublishRequest(hello=hello).SerializeToString(), *messages])


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(IDENTITIES))
def test_arbitrary_bytes_end_a_stream_with_a_reason(messages: list[bytes], identity: Identity) -> None:
    hello = PublishRequest(hello=Hello(producer=identity.producer)).SerializeToString()
    play(Client(identity), [hello, *messages])


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    with lone_ingest(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


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
            assert_documented(reject.code, reject.message)
            assert reject.message.isprintable(), f"seed {seed}: {reject}"
            assert 0 < len(reject.message) <= MESSAGE_CHARACTERS_MAX, f"seed {seed}: {reject}"
            if not reject.origin_id:
                assert reject.origin_seq > acked, f"seed {seed}: refused after it was acked: {reject}"
                assert reject.origin_seq not in refused, f"seed {seed}: refused twice: {reject}"
                refused.add(reject.origin_seq)


async def converse(ingest: LoneIngest, channel: grpc.Channel, seed: int) -> tuple[Code, str]:
    """One hostile client from its Hello to the end of its stream."""
    hostile = Hostile(seed, time.time(), GAME)
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
    if code is not Code.OK:
        assert_documented(code.value[0], details)
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
