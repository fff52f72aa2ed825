"""Who plays in a game, each on a connection of its own.

Producers, viewers with a stream of their own, browsers, actors with several devices, and producers that stay
with one ingest.

The last of them do without Envoy, which cuts streams on a frozen process after seconds: whoever waits for an
ingest until it wakes is acked by it, for what it judged by the view it had.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random

import grpc.aio

from grandstand.client import Token
from mesh import limits
from toolbox.chaos.clients import Browser, ClientContext, Native
from toolbox.chaos.report import ChaosPlan
from toolbox.chaos.scene import GameScene
from toolbox.chaos.workload import Seats, Workload
from toolbox.load.pace import Pacer

# By the letter that begins their names. Of a game that had all of the load: how many there are,
# and their share of the events.
_KINDS = {"p": (4, 0.37), "v": (16, 0.25), "b": (8, 0.15), "d": (8, 0.03), "q": (8, 0.2)}
# Of one actor; no more than a fold remembers beside the newest (limits.SUPERSEDED_ORIGINS_MAX).
DEVICES = 3

assert DEVICES <= limits.SUPERSEDED_ORIGINS_MAX


async def crew(
    plan: ChaosPlan,
    game: GameScene,
    context: ClientContext,
    now_s: float,
    connect: Callable[[str], Awaitable[grpc.aio.Channel]],
    ingests: Sequence[str],
    token: Token,
) -> list[Native | Browser]:
    """The game's clients. What each will do is decided by the plan's seed and its name.

    `connect` is given the name of an ingest, or "" for the edge.
    """
    seats = Seats(game)
    clients: list[Native | Browser] = []
    for name, rate in _named(plan.events_per_s, game):
        if name[0] == "d":
            for n in range(DEVICES):
                device = f"{name}.{n}"
                random = Random(f"{plan.seed} {game.game_id} {device}")
                author = Workload(name, game, seats, random, name, device)
                pacer = Pacer(rate / DEVICES, now_s, random)
                clients.append(Native(await connect(""), author, context, pacer, random, name, token))
            continue
        random = Random(f"{plan.seed} {game.game_id} {name}")
        pacer = Pacer(rate, now_s, random)
        channel = await connect(ingests[int(name[1:]) % len(ingests)] if name[0] == "q" else "")
        if name[0] == "b":
            clients.append(Browser(channel, _pages(name, game, seats, random), context, pacer, random, token))
        else:
            actor = name if name[0] == "v" else ""
            author = Workload(name, game, seats, random, actor)
            clients.append(Native(channel, author, context, pacer, random, actor, token))
    return clients


def _named(events_per_s: float, game: GameScene) -> Iterator[tuple[str, float]]:
    """Each client's name and rate."""
    for letter, (of_all, share) in _KINDS.items():
        count = max(1, round(of_all * game.share))
        for n in range(count):
            yield f"{letter}{n}", events_per_s * game.share * share / count


def _pages(name: str, game: GameScene, seats: Seats, random: Random) -> Callable[[int], Workload]:
    def open_page(n: int) -> Workload:
        actor = f"{name}-page{n}"
        return Workload(actor, game, seats, random, actor)

    return open_page
