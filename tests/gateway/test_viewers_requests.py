"""What no Subscribe may ask for is refused with its code, the value and the bound; nobody is disturbed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest

from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse, TopicCursor
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from tests.support.games import run
from tests.support.lone_gateway import PARTITION, POLL, LoneGateway, healthy, lone_gateway, red, states_of
from tests.support.lone_ingest import GAME

Code = grpc.StatusCode
SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture(scope="module")
def edge(gateway: LoneGateway) -> str:
    """Of an Envoy before it."""
    found = gateway.envoy()
    return f"{found.host}:{found.port}"


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(call))
    return caught.value.code(), caught.value.details() or ""


def cursor(topic: str = POLL, *positions: tuple[int, int]) -> TopicCursor:
    found = [Position(partition=partition, sequence=sequence) for partition, sequence in positions]
    return TopicCursor(topic=topic, cursor=Cursor(positions=found))


def at(partition: int, sequence: int) -> Position:
    return Position(partition=partition, sequence=sequence)


BAD: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "no game": ({"game_id": ""}, Code.INVALID_ARGUMENT, "game_id: is empty; give 1 to 64 characters"),
    "a game that is no id": (
        {"game_id": "a/../b"},
        Code.INVALID_ARGUMENT,
        "game_id: 'a/../b' has the character '/'",
    ),
    "a huge game id": ({"game_id": "g" * 9_000}, Code.INVALID_ARGUMENT, "has 9000 characters; at most 64"),
    "an unknown game": ({"game_id": "nowhere"}, Code.NOT_FOUND, "game 'nowhere' is not known"),
    "a topic of no kind": ({"topics": ["weather/today"]}, Code.INVALID_ARGUMENT, "'weather/today'"),
    "a topic without a name": ({"topics": ["poll/"]}, Code.INVALID_ARGUMENT, "'poll/'"),
    "a pattern of its own": (
        {"topics": ["poll/m*"]},
        Code.INVALID_ARGUMENT,
        "'poll/m*' is no pattern; * and poll/*",
    ),
    "an escape in a topic": ({"topics": ["poll/\x1b[31m"]}, Code.INVALID_ARGUMENT, r"poll/\x1b[31m"),
    "too many topics": (
        {"topics": [f"poll/p{n}" for n in range(33)]},
        Code.INVALID_ARGUMENT,
        "topics: 33 topics; at most 32 are allowed",
    ),
    "an inbox without a token": ({"topics": ["inbox"]}, Code.UNAUTHENTICATED, "get a token"),
    "a rate above the most": (
        {"max_updates_per_s": wire_bounds.UPDATES_PER_S_MAX + 1},
        Code.INVALID_ARGUMENT,
        "max_updates_per_s: is 21; 1 to 20 are allowed",
    ),
    "an absurd rate": ({"max_updates_per_s": 2**32 - 1}, Code.INVALID_ARGUMENT, "is 4294967295; 1 to 20"),
    "a cursor of a partition there is not": (
        {"cursors": [cursor(POLL, (wire_bounds.PARTITIONS, 1))]},
        Code.INVALID_ARGUMENT,
        "cursors.positions.partition: is 16; 0 to 15 are allowed",
    ),
    "a position of a partition there is not": (
        {"positions": [at(2**32 - 1, 1)]},
        Code.INVALID_ARGUMENT,
        "positions.partition: is 4294967295; 0 to 15 are allowed",
    ),
    "a sequence no stream has": (
        {"positions": [at(0, 2**64 - 1)]},
        Code.INVALID_ARGUMENT,
        "positions.sequence: is 18446744073709551615; at most 2^63-1",
    ),
    "a cursor of no topic": (
        {"cursors": [cursor("what/ever", (0, 1))]},
        Code.INVALID_ARGUMENT,
        "'what/ever'",
    ),
    "hundreds of cursors": (
        {"cursors": [cursor()] * 500},
        Code.INVALID_ARGUMENT,
        "cursors: 500 cursors; at most 64 are allowed",
    ),
    "thousands of positions": (
        {"positions": [at(0, 1)] * 4_000},
        Code.INVALID_ARGUMENT,
        "positions: 4000 positions; at most 64 are allowed",
    ),
    "thousands of positions in a cursor": (
        {"cursors": [cursor(POLL, *[(0, 1)] * 4_000)]},
        Code.INVALID_ARGUMENT,
        "cursors.positions: 4000 positions; at most 64 are allowed",
    ),
    "more than a message may hold": (
        {"cursors": [cursor("poll/" + "p" * 60, (0, 1))] * 5_000},
        Code.RESOURCE_EXHAUSTED,
        "16384",
    ),
}


@pytest.mark.parametrize("through_envoy", [False, True], ids=["direct", "envoy"])
@pytest.mark.parametrize("case", BAD)
def test_what_may_not_be_asked_for_is_refused_and_nobody_is_disturbed(
    gateway: LoneGateway, edge: str, case: str, through_envoy: bool
) -> None:
    fields, code, words = BAD[case]
    address = edge if through_envoy else gateway.address

    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results), gateway.stub(address) as stub:
            found = await refusal(stub.Subscribe(SubscribeRequest(**({"game_id": GAME} | fields))))
            assert found[0] == code, found
            assert words in found[1]
            assert len(found[1]) < 1_000

    run(scenario())


def test_a_position_that_is_never_reached_is_told_in_time_and_how_far_things_are(
    gateway: LoneGateway,
) -> None:
    async def one(stub: Any, sequence: int, request: SubscribeRequest) -> None:
        began_s = time.monotonic()
        code, message = await refusal(stub.Subscribe(request))
        took_s = time.monotonic() - began_s
        assert code == Code.DEADLINE_EXCEEDED
        assert (
            f"position {sequence} of partition {PARTITION} was not reached within 5 s (applied: " in message
        )
        assert limits.BARRIER_S <= took_s < limits.BARRIER_S + 1.5

    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results), gateway.stub() as stub:
            asked = SubscribeRequest(game_id=GAME, topics=[POLL])
            await asyncio.gather(
                *(
                    one(stub, sequence, request)
                    for sequence in (10**6, 2**63 - 1)
                    for request in (
                        SubscribeRequest(game_id=GAME, positions=[at(PARTITION, sequence)]),
                        SubscribeRequest(game_id=GAME, cursors=[cursor(POLL, (PARTITION, sequence))]),
                    )
                )
            )
            assert (await anext(aiter(stub.Subscribe(asked)))).HasField("snapshot")

    run(scenario())


def test_forged_positions_that_say_nothing_of_the_game_hold_nobody_up(gateway: LoneGateway) -> None:
    """A partition the game does not fold in, a topic there is not at a sequence there is, the past."""

    async def scenario() -> None:
        async with gateway.results() as results, gateway.stub() as stub:
            newest = await results.show()
            elsewhere = (PARTITION + 1) % wire_bounds.PARTITIONS
            request = SubscribeRequest(
                game_id=GAME,
                topics=[POLL],
                positions=[at(elsewhere, 2**62), at(PARTITION, 0), newest],
                cursors=[
                    cursor(POLL, (elsewhere, 2**62), (PARTITION, 1)),
                    cursor("poll/nope", (PARTITION, newest.sequence)),
                    cursor(POLL),
                ],
            )
            response = await anext(aiter(stub.Subscribe(request, timeout=4)))
            assert [red(state) for state in states_of(response)] == [newest.sequence]

    run(scenario())


def test_a_cursor_of_what_is_only_on_its_way_is_waited_for_and_shown(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results), gateway.stub() as stub:
            coming = results.sequence + 1
            request = SubscribeRequest(
                game_id=GAME, topics=[POLL], cursors=[cursor(POLL, (PARTITION, coming))]
            )
            call = stub.Subscribe(request)
            await results.show(told=False)
            response: SubscribeResponse = await anext(aiter(call))
            assert [red(state) for state in states_of(response)] == [coming]

    run(scenario())


@pytest.mark.parametrize(
    ("requests", "code", "words"),
    [
        ([], Code.INVALID_ARGUMENT, "no request came; Subscribe takes one"),
        ([b"\xff" * 40], Code.INVALID_ARGUMENT, "40 bytes are no SubscribeRequest"),
        ([b"\x0a\x01\xff"], Code.INVALID_ARGUMENT, "3 bytes are no SubscribeRequest"),
        ([b"\x0a\x01g", b"\x0a\x01g"], Code.INVALID_ARGUMENT, "a second request; Subscribe takes one"),
    ],
)
def test_none_two_or_broken_requests_are_refused(
    gateway: LoneGateway, requests: list[bytes], code: grpc.StatusCode, words: str
) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results):
            async with grpc.aio.insecure_channel(gateway.address) as channel:
                call = channel.stream_stream(SUBSCRIBE)(iter(requests))
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async for _ in call:
                        pass
            assert (caught.value.code(), words in (caught.value.details() or "")) == (code, True)

    run(scenario())


def test_a_token_that_is_not_good_or_not_for_this_game_is_no_way_in(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.stub() as stub:
            request = SubscribeRequest(game_id=GAME)
            for bearer, code in (
                ([("authorization", "Bearer junk")], Code.UNAUTHENTICATED),
                (gateway.bearer("ann", life_s=-100.0), Code.UNAUTHENTICATED),
                (gateway.bearer("ann", games=["another"]), Code.PERMISSION_DENIED),
            ):
                assert (await refusal(stub.Subscribe(request, metadata=bearer)))[0] == code

    run(scenario())


def test_a_topic_that_nobody_opened_yet_is_watched_from_its_first_word_on(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, gateway.stub() as stub:
            responses = aiter(stub.Subscribe(SubscribeRequest(game_id=GAME, topics=["poll/later"])))
            assert (await anext(responses)).HasField("snapshot")
            await results.show(topic="poll/later")
            async for response in responses:
                if states_of(response):
                    assert [state.topic for state in states_of(response)] == ["poll/later"]
                    break

    run(scenario())
