"""An actor's rank and neighbours, read from real rankings in one Valkey and in a cluster of three."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aggregate.board import Board
from aggregate.fold import FoldState
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
)
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire import ids
from grandstand.wire.errors import Unknown
from mesh.redis import layout
from mesh.redis.database import Database, RedisError, Script
from mesh.redis.ranking import BoardName, ranking_of
from mesh.redis.share import Share
from mesh.redis.standings import LOOKUPS_MAX, StandingStore
from tests.support.boards import MODES, Blk, Score, board
from tests.support.servers import stores, valkey_cluster
from tests.support.stored_board import StoredBoard

GAME = "standings"
# Ids whose order by bytes is not that of a dictionary, nor of hexadecimal digits.
ACTORS = [f"{first}{n}" for first in ("a", "B", "_", "-", "Z", "9", "f") for n in range(30)]
ACTORS += [
    "!begun",
    "!",
    "!at",
    "=",
    "=YQ",
    "auth0|5f7c",
    "ann@example.com",
    "f:uuid:ann",
    "🦊",
    "é",
    "x" * 128,
]


@pytest.fixture(scope="module", params=["one server", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    if request.param == "cluster":
        with valkey_cluster(folder) as cluster:
            yield cluster.url
    else:
        with stores(folder) as started:
            yield started.redis_url


def storm(seed: int, count: int, *, points: int) -> list[Score]:
    random = np.random.default_rng(seed)
    return [
        Score(ACTORS[a], int(p), seq=n + 1, name=f"Nø {n}" if n % 3 == 0 else "")
        for n, (a, p) in enumerate(
            zip(
                random.integers(0, len(ACTORS), count),
                random.integers(-points, points + 1, count),
                strict=True,
            )
        )
    ]


@pytest.mark.parametrize("spread", [1, 4])
@pytest.mark.parametrize("mode", MODES)
def test_every_actors_rank_and_neighbours_are_those_of_the_whole_board(
    url: str, mode: catalog.BoardMode, spread: int
) -> None:
    async def scenario() -> None:
        database = Database(url)
        definition = board(mode)
        definition.board_id = f"all-{mode}-{spread}"
        game = StoredBoard(database, GAME, definition, spread)
        for n in range(6):
            game.feed(Blk(n // 2, storm(n, 80, points=3)))
            await game.flush()
        for at, actor in enumerate([*ACTORS, "nobody"]):
            await game.check(actor, (0, 1, 3, 25)[at % 4])
        await database.aclose()

    asyncio.run(scenario())


def test_among_equals_rows_and_then_ids_decide_over_all_partitions(url: str) -> None:
    """The rows of one block, and of blocks of the same microsecond: numbers that no double holds apart."""

    async def scenario() -> None:
        database = Database(url)
        definition = board(BOARD_MODE_SUM)
        definition.board_id = "equals"
        game = StoredBoard(database, GAME, definition, 4)
        for at in range(0, len(ACTORS), 70):
            game.feed(Blk(1, [Score(actor, 2**53) for actor in ACTORS[at : at + 70]]))
        await game.flush()
        for actor in ACTORS:
            await game.check(actor, 4)
        await database.aclose()

    asyncio.run(scenario())


def test_the_mark_of_a_ranking_is_nobody(url: str) -> None:
    """The member "!", which says with which flush a ranking was written."""

    async def scenario() -> None:
        database = Database(url)
        definition = board(BOARD_MODE_LOWEST)
        definition.board_id = "marked"
        game = StoredBoard(database, GAME, definition, 4)
        game.feed(Blk(1, [Score(actor, 2**53) for actor in ACTORS[:40]]))
        await game.flush()
        mark = Script("return redis.call('ZADD', KEYS[1], ARGV[1], '!')")
        for partition in ids.partitions_of(GAME, 4):
            key = layout.part_ranking_key(partition, GAME, game.ranking().topic, game.ranking().part)
            await database.run(mark, [key], [2**54 + 4 * partition])
        for actor in [*ACTORS[:40], "nobody"]:
            await game.check(actor, 3)
        await database.aclose()

    asyncio.run(scenario())


def test_the_season_before_is_read_until_it_is_dropped(url: str) -> None:
    async def scenario() -> None:
        database = Database(url)
        definition = board(BOARD_MODE_BEST, seasons=True)
        definition.board_id = "seasons"
        game = StoredBoard(database, GAME, definition, 4)
        game.feed(Blk(1, storm(1, 200, points=9)))
        await game.flush()
        with pytest.raises(Unknown, match=r"previous_season: board 'seasons' .* is in its first season"):
            game.ranking(previous=True)
        game.feed(Blk(21, storm(2, 100, points=9)))
        game.feed(Blk(19, storm(3, 100, points=20)))
        await game.flush()
        for actor in ACTORS[::3]:
            await game.check(actor, 2)
            await game.check(actor, 2, previous=True)
        first = game.ranking(previous=True)
        game.feed(Blk(45))
        await game.flush()
        dropped = await StandingStore(database).read(first, ACTORS[0], 2)
        assert (dropped.entry, dropped.actors) == (None, 0)
        await game.check(ACTORS[0], 2)
        await database.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("spread", [1, 4])
def test_many_places_are_read_together_as_each_alone_and_a_broken_one_spoils_none(
    url: str, spread: int
) -> None:
    async def scenario() -> None:
        database = Database(url)
        games = []
        for name in ("many-a", "many-b"):
            definition = board(BOARD_MODE_BEST)
            definition.board_id = f"{name}-{spread}"
            games.append(StoredBoard(database, GAME, definition, spread))
            games[-1].feed(Blk(1, storm(len(name), 400, points=9)))
            await games[-1].flush()
        asked = [(game.ranking(), actor) for actor in [*ACTORS, "nobody"] for game in games]
        assert len(asked) > LOOKUPS_MAX * spread
        reader = games[0].reader
        together = await reader.read_many(asked)
        assert together == [await reader.read(ranking, actor, 0) for ranking, actor in asked]
        victim = games[0].oracle.ranked(0)[7][0]
        ranking, own = games[0].ranking(), ids.partition_of(GAME, victim, spread)
        await database.run(
            Script("return redis.call('HSET', KEYS[1], ARGV[1], 'torn')"),
            [layout.part_hash_key(own, GAME, ranking.topic, ranking.part)],
            [victim],
        )
        with pytest.raises(
            RedisError, match=rf"{ranking.topic} of game standings is broken at actor {victim}"
        ):
            await reader.read(ranking, victim, 0)
        spoilt = asked.index((ranking, victim))
        found = await reader.read_many(asked)
        assert found.pop(spoilt) is None
        assert found == together[:spoilt] + together[spoilt + 1 :]
        await database.aclose()

    asyncio.run(scenario())


def test_what_partitions_hold_of_a_board_is_read_without_the_rest_of_its_game(url: str) -> None:
    async def scenario() -> None:
        database = Database(url)
        games = {}
        for name in ("shares-a", "shares-b"):
            definition = board(BOARD_MODE_SUM)
            definition.board_id = name
            games[name] = StoredBoard(database, GAME, definition, 3)
            games[name].feed(Blk(1, storm(1, 50, points=9)))
            await games[name].flush()
        asked = [BoardName(GAME, name, 3) for name in ("shares-b", "no-such", "shares-a")]
        b, none, a = await games["shares-a"].reader.shares(asked)
        for name, shares in (("shares-a", a), ("shares-b", b)):
            assert {share.partition: share.applied for share in shares} == games["shares-b"].applied
            assert all(share.partials.keys() == {f"board/{name}"} for share in shares)
            assert ranking_of(GAME, 3, name, shares) == games[name].ranking()
        assert [share.partials for share in none] == [{}, {}, {}]
        torn = ids.partitions_of(GAME, 3)[1]
        await database.run(
            Script("return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])"),
            [layout.results_key(torn, GAME)],
            ["board/shares-a", b"\xff\xff"],
        )
        (found,) = await games["shares-a"].reader.shares([BoardName(GAME, "shares-a", 3)])
        assert [bool(share.partials) for share in found] == [share.partition != torn for share in found]
        await database.aclose()

    asyncio.run(scenario())


def test_a_board_that_is_unknown_or_has_no_seasons_is_named() -> None:
    with pytest.raises(Unknown, match="board 'top' is not known in game 'standings'"):
        ranking_of(GAME, 1, "top", [Share(0, 1, {})])
    partial = Partial(board=Board.from_state(board(BOARD_MODE_SUM), FoldState()).partial())
    with pytest.raises(Unknown, match="board 'top' of game 'standings' has no seasons"):
        ranking_of(GAME, 1, "top", [Share(0, 1, {"board/top": partial})], previous=True)
