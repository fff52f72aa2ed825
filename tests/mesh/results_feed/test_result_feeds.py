"""Loads of games that are shared by those who ask for them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from mesh.redis.share import Share
from mesh.results_feed.result_feeds import ResultFeeds
from mesh.results_feed.view import GameView
from tests.support.games import run


class SlowStore:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def shares(self, partition: int, game_ids: list[str]) -> dict[str, Share]:
        self.asked.set()
        await self.answers.wait()
        return {game_id: Share(partition, 1, {}) for game_id in game_ids}


async def done(*_: object, **__: object) -> Any:
    return SimpleNamespace(unsubscribe=done)


def test_who_waits_for_a_game_that_nobody_watches_any_more_goes_on() -> None:
    """It was cancelled once, and with it the loader of all games that have rules."""

    async def scenario() -> None:
        client = SimpleNamespace(subscribe=done, flush=done)
        bus: Any = SimpleNamespace(client=client, on_reconnect=print, off_reconnect=print)
        store: Any = SlowStore()
        feeds = ResultFeeds(
            *(bus, store), on_changed=lambda *_: None, on_progress=print, on_forgotten=lambda _: None
        )
        for game_id in ("loading", "waiting"):
            feeds.watch(game_id, GameView(), [3])
        loading = asyncio.create_task(feeds.load("loading"))
        await store.asked.wait()
        waiting = asyncio.create_task(feeds.load("waiting"))
        await asyncio.sleep(0)
        for game_id in ("loading", "waiting"):
            feeds.unwatch(game_id)
        assert await waiting is None
        store.answers.set()
        assert await loading is None
        await feeds.stop()

    run(scenario())
