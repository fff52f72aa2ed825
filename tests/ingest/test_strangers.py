"""Strangers at the door of ingest: silent streams, too many of them, and a producer that mutes an actor.

The ingest exempts nobody; the attackers come from addresses of their own, and beside them a witness goes on
being acked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from grandstand.event.v1.event_pb2 import Event
from ingest import bounds as ingest_bounds
from tests.support.games import run, until
from tests.support.lone_ingest import (
    GAME,
    HELLO,
    OTHER_GAME,
    PUBLISH,
    LoneIngest,
    RawStream,
    lone_ingest,
    score,
    witness,
)
from tests.support.raw_viewers import Line, line_to
from tests.support.rejections import assert_documented

ATTACKER, NEIGHBOUR = "127.0.0.66", "127.0.0.67"
DEADLINE_EXCEEDED, EXHAUSTED = 4, 8
OF_PRODUCER, OF_ADDRESS = 20, 50


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneIngest]:
    bounds = ("--streams-producer", str(OF_PRODUCER), "--streams-address", str(OF_ADDRESS))
    with lone_ingest(tmp_path_factory.mktemp("ingest"), *bounds, addresses=()) as found:
        yield found


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def ended(line: Line) -> Counter[int]:
    return Counter(ending.code for ending in line.ended.values())


def refusal(line: Line) -> str:
    """What those beyond a bound were told, all the same but for the delay."""
    (told,) = {e.message.partition("; come again")[0] for e in line.ended.values() if e.code == EXHAUSTED}
    for ending in line.ended.values():
        assert_documented(ending.code, ending.message)
    return told


def test_one_token_holds_few_streams_and_silent_ones_not_for_long(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with witness(ingest) as beside, line_to(ingest.address, source=ATTACKER, path=PUBLISH) as line:
            streams = [line.open(bearer(ingest.token("mallory"))) for _ in range(500)]
            most = ingest_bounds.STREAMS_PER_ACTOR_MAX
            await until(lambda: ended(line)[EXHAUSTED] == 500 - most, "all but a few are refused")
            assert refusal(line) == (
                "actor 'mallory' has 8 Publish streams on this ingest, the most one actor may have; close one"
            )
            await beside.once_more()
            await until(lambda: len(line.ended) == len(streams), "the silent ones are ended", within_s=20)
            assert ended(line)[DEADLINE_EXCEEDED] == most
            assert line.ended[streams[0]].message.startswith("no whole request came within 5 s")
            line.open(bearer(ingest.token("mallory")))
            await beside.once_more()
            assert len(line.ended) == len(streams), "their places are given back"

    run(scenario())


def test_many_tokens_behind_one_address_leave_room_for_other_addresses(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with (
            witness(ingest),
            line_to(ingest.address, source=ATTACKER, path=PUBLISH) as line,
            line_to(ingest.address, source=NEIGHBOUR, path=PUBLISH) as neighbour,
        ):
            for n in range(OF_ADDRESS + 30):
                line.open(bearer(ingest.token(f"m{n}")))
            await until(lambda: ended(line)[EXHAUSTED] == 30, "those beyond the bound are refused")
            assert f"address {ATTACKER} has {OF_ADDRESS} Publish streams on this ingest" in refusal(line)
            for n in range(OF_ADDRESS):
                neighbour.open(bearer(ingest.token(f"n{n}")))
            with ingest.channel() as channel:
                async with RawStream(channel, ingest.token("ann")) as stream:
                    stream.say(HELLO)
                    assert (welcome := await stream.hear()) is not None
                    assert welcome.HasField("welcome")
            assert not neighbour.ended

    run(scenario())


def test_a_producer_has_more_and_another_producer_its_own(ingest: LoneIngest) -> None:
    async def scenario() -> None:
        async with witness(ingest), line_to(ingest.address, source="127.0.0.68", path=PUBLISH) as line:
            for name in ("one", "", "two"):
                for _ in range(OF_PRODUCER // 2 if name == "two" else OF_PRODUCER + 2):
                    line.open(bearer(ingest.producer_token(name)))
            await until(lambda: ended(line)[EXHAUSTED] == 4, "those beyond the bound are refused")
            told = {ending.message.partition(" has ")[0] for ending in line.ended.values()}
            assert told == {"actor 'one'", "actor '' (tokens without a sub)"}

    run(scenario())


def test_a_producer_of_one_game_mutes_nobody_in_another(ingest: LoneIngest) -> None:
    flood, batch = 2 * ingest_bounds.ACTOR_BURST_EVENTS, 50

    def votes(first: int, game_id: str, count: int) -> list[Event]:
        return [score(n, game_id=game_id, actor_id="victim") for n in range(first, first + count)]

    async def scenario() -> None:
        with ingest.channel() as channel:
            rogue_token = ingest.token("rogue", roles=["producer"], games=[OTHER_GAME])
            async with (
                witness(ingest),
                RawStream(channel, rogue_token) as rogue,
                RawStream(channel, ingest.producer_token("honest")) as honest,
            ):
                for stream in (rogue, honest):
                    stream.request(hello={"producer": True})
                    assert await stream.hear() is not None
                for first in range(1, flood, batch):
                    rogue.events(*votes(first, OTHER_GAME, batch))
                rejected = list[str]()
                acked = 0
                while acked < flood:
                    response = await rogue.hear()
                    assert response is not None, await rogue.ending()
                    acked = max(acked, response.ack.origin_seq)
                    if response.HasField("reject"):
                        rejected.append(response.reject.message)
                assert len(rejected) > flood // 4, "it has used up what the victim may do in its game"
                assert rejected[0].startswith("actor 'victim': more than 50 events/s with 200 at once")
                honest.events(*votes(1, GAME, batch))
                acked = 0
                while acked < batch:
                    response = await honest.hear()
                    assert response is not None, await honest.ending()
                    assert not response.HasField("reject"), response
                    acked = max(acked, response.ack.origin_seq)

    run(scenario())
