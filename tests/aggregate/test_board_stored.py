"""A board with seasons in a real Valkey: handed from worker to worker, sealed, and still read (I4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from aggregate.loading import load
from aggregate.partition import Loaded, Partition
from aggregate.partition_store import PartitionStore
from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, Season
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import ids
from mesh.merge.board import merge_board
from mesh.redis.database import Database
from mesh.redis.ranking import ranking_of
from mesh.redis.results import ResultStore
from mesh.redis.standings import StandingStore
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.boards import entries
from tests.support.partitions import partials_of, sealing
from tests.support.servers import stores

SEASON_S = 100
PARTITION = ids.partitions_of(GAME, 1)[0]


def _board_of_seasons() -> Block:
    made = blocks.board(BOARD_MODE_SUM, season=Season(every=Duration(seconds=SEASON_S)))
    made.opened_at.FromSeconds(NOW_S)
    made.season.starts_at.FromSeconds(NOW_S)
    return blocks.control(made)


def test_seasons_survive_takeovers_and_a_sealed_board_is_still_read(tmp_path: Path) -> None:
    scores = [
        ("ann", 5, 1),
        ("bob", 3, 2),
        ("ann", 1, 101),
        ("cleo", 4, 201),
        ("bob", 9, 199),
        ("cleo", -2, 230),
        ("ann", 2, 240),
    ]
    stream = [
        _board_of_seasons(),
        *(
            blocks.block([blocks.score(actor, points, origin(n), 1)], NOW_S + at_s)
            for n, (actor, points, at_s) in enumerate(scores)
        ),
        *sealing(_board_of_seasons().control.board, NOW_S + 250),
    ]

    async def scenario(url: str) -> None:
        database = Database(url)
        stored = PartitionStore(database, PARTITION, "worker")
        whole = Partition(PARTITION, Loaded())
        results = ResultStore(database)
        for sequence, block in enumerate(stream, start=1):
            data = block.SerializeToString()
            assert whole.fold(sequence, data) == []
            # Every block is folded by another worker than the one before.
            acquired = await stored.acquire(f"life-{sequence}")
            assert acquired is not None
            if acquired.applied:
                loaded = await load(stored, PARTITION, acquired.applied)
            else:
                await stored.reset(f"life-{sequence}", "a stream", 0)
                loaded = Loaded()
            taken_over = Partition(PARTITION, loaded)
            assert taken_over.fold(sequence, data) == []
            flush = taken_over.take_flush()
            assert flush is not None
            await stored.flush(f"life-{sequence}", flush.before, flush.state, flush.writes)
        (share,) = await results.read(GAME, 1)
        final = whole.take_flush()
        assert final is not None
        assert partials_of(final) == list(share.partials.values())
        shown = merge_board([share.partials["board/top"].board])
        assert (shown.season.number, entries(shown)) == (3, [("cleo", 2), ("ann", 2)])
        assert [(e.actor_id, e.points) for e in shown.previous.entries] == [("bob", 9), ("ann", 1)]
        assert shown.previous.sealed
        for previous, points in ((False, 2), (True, 1)):
            ranking = ranking_of(GAME, 1, "top", [share], previous=previous)
            found = await StandingStore(database).read(ranking, "ann", 5)
            assert (found.actors, found.entry) == (2, BoardEntry(rank=2, actor_id="ann", points=points))
        await database.aclose()

    with stores(tmp_path) as started:
        asyncio.run(scenario(started.redis_url))
