"""What is opened is in the Snapshot of whoever comes after the answer, and delays nobody for long. As
tests.gateway.test_fanout, on stores of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway import feed
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Poll
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from mesh import limits
from mesh.jetstream import subjects
from tests.gateway.test_fanout import Stage, first, staged
from tests.support.games import run, until
from tests.support.lone_gateway import GAME, PARTITION, POLL, LoneGateway
from tests.support.servers import Stores, stores


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("opened")) as found:
        asyncio.run(LoneGateway(found)._define())
        yield found


@contextlib.asynccontextmanager
async def opened(staged: Stage, poll_id: str) -> AsyncIterator[None]:
    """The catalog says so, and the gateway knows, meanwhile; nothing is folded yet."""
    bucket, catalog = await staged.bus.js.key_value(subjects.CATALOG_BUCKET), staged.fan_out.catalog.view
    poll = Poll(game_id=GAME, poll_id=poll_id, stage=STAGE_OPEN)
    poll.opened_at.FromNanoseconds(int(staged.fan_out.now() * 1e9))
    key = subjects.poll_key(GAME, poll_id)
    await bucket.put(key, poll.SerializeToString())
    await until(lambda: key in catalog, "the gateway knows")
    try:
        yield
    finally:
        await bucket.delete(key)


def topics_of(response: SubscribeResponse) -> set[str]:
    return {each.topic for each in response.snapshot.topics}


def test_i6_who_comes_after_an_opening_finds_the_topic_though_the_news_of_it_was_lost(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            watching = stage.subscribe()
            await first(watching)
            async with opened(stage, "lost"):
                await stage.results.show(told=False, topic="poll/lost")
                assert "poll/lost" in topics_of(await first(stage.subscribe()))
            async with opened(stage, "late"):
                early, other = stage.subscribe(), stage.subscribe(topics=[POLL])
                assert topics_of(await first(other)) == {POLL}, "it asks for nothing that is on its way"
                await stage.results.show(topic="poll/late")
                assert "poll/late" in topics_of(await first(early))

    run(scenario())


def test_i6_who_comes_after_an_opening_finds_the_topic_before_the_others_are_sent_it(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            slowly: dict[str, Any] = {"max_updates_per_s": 1}
            watching = stage.subscribe(**slowly)
            await first(watching)
            await stage.results.show()
            await first(watching)
            async with opened(stage, "soon"):
                at = await stage.results.show(topic="poll/soon")
                known = stage.fan_out._feeds[GAME].view
                await until(lambda: known.applied(PARTITION) == at.sequence, "the gateway hears of it")
                assert "poll/soon" in topics_of(await first(stage.subscribe(**slowly)))

    run(scenario())


def test_a_topic_that_nobody_folds_delays_a_snapshot_and_refuses_none(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BARRIER_S", 0.2)

    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            async with opened(stage, "never"):
                shown = topics_of(await first(stage.subscribe()))
                assert POLL in shown
                assert "poll/never" not in shown
                monkeypatch.setattr(limits, "BARRIER_S", 60.0)
                monkeypatch.setattr(feed, "_OPENED_S", 0.0)  # it was opened long ago
                assert POLL in topics_of(await first(stage.subscribe()))

    run(scenario())
