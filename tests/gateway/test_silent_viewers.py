"""Strangers that open Subscribe and say nothing: they take no more room than viewers, and not for long.

The gateway exempts nobody; the attackers come from addresses of their own, and beside them a healthy viewer
sees every new state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from gateway import bounds as gateway_bounds
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from tests.support.games import run, until
from tests.support.lone_gateway import POLL, LoneGateway, healthy, lone_gateway
from tests.support.lone_ingest import GAME
from tests.support.raw_viewers import Line, line_to

ATTACKER, NEIGHBOUR = "127.0.0.66", "127.0.0.67"
REQUEST = SubscribeRequest(game_id=GAME, topics=[POLL])
DEADLINE_EXCEEDED, EXHAUSTED = 4, 8


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway"), addresses=()) as found:
        yield found


def ended(line: Line) -> Counter[int]:
    return Counter(ending.code for ending in line.ended.values())


def test_streams_of_headers_alone_count_for_their_address_and_end_with_a_status(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with (
            gateway.results() as results,
            healthy(gateway, results) as witness,
            line_to(gateway.address, source=ATTACKER) as line,
            line_to(gateway.address, source=NEIGHBOUR) as neighbour,
            witness.sees_all_the_time(),
        ):
            silent = [line.open() for _ in range(gateway_bounds.VIEWERS_PER_ADDRESS_MAX + 500)]
            await until(lambda: ended(line)[EXHAUSTED] == 500, "those beyond the bound are refused")
            (refused,) = {e.message.partition(";")[0] for e in line.ended.values()}
            assert refused == (
                f"address {ATTACKER} has 2000 viewers on this gateway, the most one address may have"
            )
            watching = neighbour.subscribe(REQUEST)
            await until(lambda: bool(neighbour.received[watching]), "another address is served at once")
            await until(lambda: len(line.ended) == len(silent), "the silent ones are ended", within_s=20)
            assert ended(line)[DEADLINE_EXCEEDED] == gateway_bounds.VIEWERS_PER_ADDRESS_MAX
            told = line.ended[silent[0]].message
            assert told.startswith("no whole request came within 5 s of the call's headers")
            late = line.subscribe(REQUEST)
            await until(lambda: bool(line.received[late]), "and their places are given back")

    run(scenario(), within_s=60)


def test_they_count_for_their_actor_too(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with (
            gateway.results() as results,
            healthy(gateway, results),
            line_to(gateway.address, source=ATTACKER) as line,
        ):
            ann, bob = gateway.bearer("ann"), gateway.bearer("bob")
            for _ in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX + 1):
                line.open(ann)
            await until(lambda: ended(line)[EXHAUSTED] == 1, "one is beyond the bound")
            (ending,) = line.ended.values()
            assert "actor 'ann' has 32 viewers on this gateway" in ending.message
            watching = line.subscribe(REQUEST, bob)
            await until(lambda: bool(line.received[watching]), "another actor is served")

    run(scenario())
