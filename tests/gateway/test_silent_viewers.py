"""Strangers that open Subscribe and say nothing: they take no more room than viewers, and not for long.

The gateway exempts nobody; the attackers come from addresses of their own, and beside them a healthy viewer
sees every new state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from gateway import bounds as gateway_bounds
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from tests.support.games import run, until
from tests.support.lone_gateway import POLL, LoneGateway, healthy, lone_gateway
from tests.support.lone_ingest import GAME
from tests.support.raw_viewers import line_to

ATTACKER, NEIGHBOUR = "127.0.0.66", "127.0.0.67"
REQUEST = SubscribeRequest(game_id=GAME, topics=[POLL])
EXHAUSTED = 8
PER_CONNECTION = 100


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway"), addresses=()) as found:
        yield found


def test_streams_of_headers_alone_count_for_their_address_and_do_not_stay(gateway: LoneGateway) -> None:
    """Through Envoy, as strangers come, each naming an address of its own. Its rates would let too few in."""
    edge = gateway.envoy(address_rates=False)
    address = f"{edge.host}:{edge.port}"
    bound, beyond = gateway_bounds.VIEWERS_PER_ADDRESS_MAX, 500

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as lines:
            results = await lines.enter_async_context(gateway.results())
            witness = await lines.enter_async_context(healthy(gateway, results, address))
            attack = [
                await lines.enter_async_context(line_to(address, source=ATTACKER))
                for _ in range((bound + beyond) // PER_CONNECTION)
            ]
            neighbour = await lines.enter_async_context(line_to(address, source=NEIGHBOUR))
            for at, line in enumerate(attack):
                for n in range(PER_CONNECTION):
                    line.open([("x-forwarded-for", f"10.0.{at}.{n}")])

            def ended(code: int | None = None) -> int:
                return sum(code in (None, each.code) for line in attack for each in line.ended.values())

            await until(lambda: ended(EXHAUSTED) == beyond, "those beyond the bound are refused")
            messages = {each.message for line in attack for each in line.ended.values()}
            assert {message.partition(";")[0] for message in messages} == {
                f"address {ATTACKER} has {bound} viewers on this gateway, the most one address may have"
            }
            watching = neighbour.subscribe(REQUEST)
            await until(lambda: bool(neighbour.received[watching]), "another address is served")
            await witness.sees_the_next()
            await until(lambda: ended() == bound + beyond, "the silent ones are ended", within_s=20)
            late = neighbour.subscribe(REQUEST)
            await until(lambda: bool(neighbour.received[late]), "others are served all the time")
            again = attack[0].subscribe(REQUEST)
            await until(lambda: bool(attack[0].received[again]), "their places are given back")

    run(scenario())


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
            await until(lambda: bool(line.ended), "one is beyond the bound")
            (ending,) = line.ended.values()
            assert ending.code == EXHAUSTED
            assert "actor 'ann' has 32 viewers on this gateway" in ending.message
            watching = line.subscribe(REQUEST, bob)
            await until(lambda: bool(line.received[watching]), "another actor is served")

    run(scenario())
