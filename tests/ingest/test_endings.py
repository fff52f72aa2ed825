"""How a Publish stream ends that breaks the rules, and what the client is told; nobody else notices (I10).

A real ingest on a real NATS, and bytes that a client of ours would never send.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
import pytest

from grandstand.event.v1.event_pb2 import Event
from grandstand.ingest.v1.ingest_pb2 import Heartbeat, Hello
from grandstand.wire import bounds as wire_bounds
from mesh.auth import MESH_AUDIENCE, mint, parse_signing_keys, read_signing_keys
from tests.support.games import run
from tests.support.hostile import BYTES, VARINT, field, origin, varint
from tests.support.lone_ingest import (
    GAME,
    HELLO,
    LoneIngest,
    RawStream,
    batch,
    lone_ingest,
    said,
    score,
    witness,
)
from tests.support.rejections import assert_documented
from toolbox.local import development

Code = grpc.StatusCode
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    with lone_ingest(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


def now_s() -> float:
    return time.time()


YEAR_S = 365 * 86_400

ENDINGS: dict[str, tuple[Callable[[], list[bytes]], Code, str]] = {
    "nothing is not a message": (
        lambda: [b""],
        Code.INVALID_ARGUMENT,
        "expected, got none of them in 0 bytes",
    ),
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
        "hello, events or heartbeat expected, got none of them",
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
        lambda: [HELLO, batch(*map(score, range(1, wire_bounds.VIEWER_CREDIT + 2)))],
        Code.RESOURCE_EXHAUSTED,
        f"at most {wire_bounds.VIEWER_CREDIT} may be unacked, wait for acks",
    ),
    "a message beyond the limit": (
        lambda: [HELLO, batch(score(1, actor_id="x" * wire_bounds.INGEST_MESSAGE_BYTES_MAX))],
        Code.RESOURCE_EXHAUSTED,
        str(wire_bounds.INGEST_MESSAGE_BYTES_MAX),
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
            assert_documented(code.value[0], details)
            assert details.isprintable()

    run(scenario(), PATIENCE_S)


def minted(ingest: LoneIngest, *, age_s: float = 0.0, **claims: Any) -> str:
    (key,) = read_signing_keys(ingest.home / development.DEVELOPMENT_KEY)
    return mint.token(key, **({"actor_id": "ann", "now_s": now_s() - age_s, "life_s": 60.0} | claims))


def unsigned(ingest: LoneIngest) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"grandstand-development"}').decode().rstrip("=")
    return f"{header}.{minted(ingest).split('.')[1]}.AAAA"


def of_another_home(ingest: LoneIngest) -> str:
    jwk = mint.development_jwk(b"x" * mint.ENTROPY_BYTES)
    (key,) = parse_signing_keys(json.dumps(jwk).encode())
    return mint.token(key, actor_id="ann", now_s=now_s(), life_s=60.0)


BAD_TOKENS: dict[str, tuple[Callable[[LoneIngest], str | None], str]] = {
    "none": (lambda ingest: None, "token: there is none; send metadata authorization"),
    "empty": (lambda ingest: "", "token: is not a JWT"),
    "rubbish": (lambda ingest: "\U0001f4a9".encode().hex(), "token: is not a JWT"),
    "too long": (lambda ingest: f"{minted(ingest)}{'A' * 10_000}", "bytes; at most"),
    "expired": (lambda ingest: minted(ingest, age_s=100.0), "s ago (exp); get a new one"),
    "from the future": (lambda ingest: minted(ingest, age_s=-100.0), "(nbf or iat)"),
    "without a signature": (unsigned, "token: alg is 'none'"),
    "of another key": (of_another_home, "token: its signature is not good for HS256"),
    "of the mesh's audience": (lambda ingest: minted(ingest, audience=MESH_AUDIENCE), "token: aud is "),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_a_token_that_is_not_good_opens_nothing_and_says_why(ingest: LoneIngest, case: str) -> None:
    make, message = BAD_TOKENS[case]

    async def scenario() -> None:
        with ingest.channel() as channel:
            async with RawStream(channel, make(ingest)) as stream:
                for data in (HELLO, batch(score(1))):
                    stream.say(data)
                code, details, heard = await stream.ending()
        assert (code, heard) == (Code.UNAUTHENTICATED, []), details
        assert message in details
        assert_documented(code.value[0], details)

    run(scenario())


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


def test_metadata_without_end_is_refused(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with witness(ingest):
            with ingest.channel() as channel:
                async with RawStream(channel, "x" * 20_000) as stream:
                    stream.say(HELLO)
                    code, details, _ = await stream.ending()
            assert code == Code.RESOURCE_EXHAUSTED, details
            assert_documented(code.value[0], details)

    run(scenario(), PATIENCE_S)
