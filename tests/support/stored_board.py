"""A board as aggregation stores it: folded in each partition of its game, and flushed to a real Redis."""

from __future__ import annotations

from aggregate.board import Board
from aggregate.changes import Changes
from aggregate.encoded_partials import EncodedPartial
from aggregate.fold import FoldState
from aggregate.partition_store import PartitionStore
from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.internal.v1.internal_pb2 import Partial, PartitionState
from grandstand.wire import ids
from mesh.redis.database import Database
from mesh.redis.ranking import Ranking, ranking_of
from mesh.redis.share import Share
from mesh.redis.standings import StandingStore
from tests.support.boards import Blk, Oracle, feed, placed


class StoredBoard:
    def __init__(self, database: Database, game_id: str, definition: catalog.Board, spread: int) -> None:
        definition.game_id = self.game_id = game_id
        self.oracle = Oracle(definition)
        self.spread = spread
        self.key = (game_id, f"board/{definition.board_id}")
        self.folds = {
            p: Board.from_state(definition, FoldState()) for p in ids.partitions_of(self.game_id, spread)
        }
        self._stores = {p: PartitionStore(database, p, "test") for p in self.folds}
        self.reader = StandingStore(database)
        self.applied: dict[int, int] = {}

    def feed(self, block: Blk) -> None:
        block = Blk(block.at_s, placed(block.scores))
        self.oracle.feed(block)
        for partition, fold in self.folds.items():
            fold.advance(block.at_us)
            mine = [score for score in block.scores if self.partition_of(score.actor) == partition]
            feed(fold, Blk(block.at_s, mine))

    def partition_of(self, actor: str) -> int:
        return ids.partition_of(self.game_id, actor, self.spread)

    async def flush(self) -> None:
        """Each partition moves on by at least one sequence."""
        for partition, fold in self.folds.items():
            acquired = await self._stores[partition].acquire("token")
            assert acquired is not None
            changes = Changes(partition)
            changes.fold(self.key, fold.delta())
            stage = self.oracle.definition.stage
            partial = Partial(game_id=self.game_id, topic=self.key[1], stage=stage, board=fold.partial())
            changes.results([EncodedPartial(self.game_id, self.key[1], partial.SerializeToString())])
            self.applied[partition] = acquired.applied + 1 + partition
            await self._stores[partition].flush(
                "token",
                acquired.applied,
                PartitionState(applied=self.applied[partition]),
                changes.writes,
            )

    def ranking(self, *, previous: bool = False) -> Ranking:
        partials = {p: {self.key[1]: Partial(board=fold.partial())} for p, fold in self.folds.items()}
        shares = [Share(p, 1, found) for p, found in partials.items()]
        return ranking_of(
            self.game_id, self.spread, self.oracle.definition.board_id, shares, previous=previous
        )

    async def check(self, actor: str, neighbours: int, *, previous: bool = False) -> None:
        """Against the place in the whole, sorted board."""
        ranked = self.oracle.ranked(self.oracle.current - previous)
        standing = await self.reader.read(self.ranking(previous=previous), actor, neighbours)
        assert standing.actors == len(ranked)
        assert standing.applied == self.applied
        names = self.oracle.names(self.oracle.current - previous)
        entries = [
            BoardEntry(rank=n, actor_id=a, points=p, name=names.get(a))
            for n, (a, p) in enumerate(ranked, start=1)
        ]
        at = next((n for n, entry in enumerate(entries) if entry.actor_id == actor), None)
        if at is None:
            assert (standing.entry, list(standing.neighbours)) == (None, [])
            return
        assert standing.entry == entries[at]
        assert list(standing.neighbours) == entries[max(0, at - neighbours) : at + neighbours + 1]
