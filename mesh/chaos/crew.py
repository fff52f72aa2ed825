"""Who plays in a game: producers, viewers with a stream of their own, and browsers. Each has a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from random import Random

import grpc.aio

from mesh.chaos.author import Author, Seats
from mesh.chaos.clients import Browser, Desk, Native
from mesh.chaos.report import Plan
from mesh.chaos.scene import GameScene
from mesh.client import Token
from mesh.crowd.pace import Pacer

# By the letter that begins their names. Of a game that had all of the load: how many there are,
# and their share of the events.
_KINDS = {"p": (4, 0.6), "v": (16, 0.25), "b": (8, 0.15)}


async def crew(
    plan: Plan,
    game: GameScene,
    desk: Desk,
    now_s: float,
    connect: Callable[[], Awaitable[grpc.aio.Channel]],
    token: Token,
) -> list[Native | Browser]:
    """The game's clients. What each will do is decided by the plan's seed and its name."""
    seats = Seats(game)
    clients: list[Native | Browser] = []
    for name, rate in _named(plan.events_per_s, game):
        random = Random(f"{plan.seed} {game.game_id} {name}")
        pacer = Pacer(rate, now_s, random)
        channel = await connect()
        if name[0] == "b":
            clients.append(Browser(channel, _pages(name, game, seats, random), desk, pacer, random, token))
        else:
            actor = "" if name[0] == "p" else name
            author = Author(name, game, seats, random, actor)
            clients.append(Native(channel, author, desk, pacer, random, actor, token))
    return clients


def _named(events_per_s: float, game: GameScene) -> Iterator[tuple[str, float]]:
    """Each client's name and rate."""
    for letter, (of_all, share) in _KINDS.items():
        count = max(1, round(of_all * game.share))
        for n in range(count):
            yield f"{letter}{n}", events_per_s * game.share * share / count


def _pages(name: str, game: GameScene, seats: Seats, random: Random) -> Callable[[int], Author]:
    def open_page(n: int) -> Author:
        actor = f"{name}-page{n}"
        return Author(actor, game, seats, random, actor)

    return open_page
