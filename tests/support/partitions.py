"""Folds blocks into a partition, for tests of the core, and reads what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from aggregate.fold import FoldState
from aggregate.partition import Flush, Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Poll
from grandstand.internal.v1.internal_pb2 import (
    Block,
    DeadLetter,
    Partial,
    PartitionState,
    StoredTopic,
)
from mesh import limits
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME


def sealing(definition: Poll | Board, at_s: float = blocks.NOW_S) -> list[Block]:
    """The controls that close it at `at_s`, and seal it as soon as may be."""
    return [
        blocks.control(definition, STAGE_CLOSED, at_s),
        blocks.control(definition, STAGE_SEALED, at_s + limits.SEAL_GRACE_S),
    ]


def fold(partition: Partition, *stream: Block) -> dict[str, Partial]:
    """Folds and flushes; nothing of the stream may be set aside."""
    for block in stream:
        assert partition.fold(partition.folded + 1, block.SerializeToString()) == []
    flush = partition.take_flush()
    return {partial.topic: partial for partial in partials_of(flush)} if flush else {}


def partials_of(flush: Flush) -> list[Partial]:
    return [Partial.FromString(each.encoded) for each in flush.partials]


def set_aside(partition: Partition, block: Block | bytes) -> list[DeadLetter]:
    data = block if isinstance(block, bytes) else block.SerializeToString()
    return partition.fold(partition.folded + 1, data)


def votes_of(partial: Partial) -> dict[str, int]:
    return dict(zip(partial.tally.option_ids, partial.tally.votes, strict=True))


def points_of(partial: Partial) -> dict[str, int]:
    share = partial.board.current
    return dict(zip(share.actor_ids, share.points, strict=True))


@dataclass
class Kept:
    """What Redis would hold after a partition's flushes."""

    state: PartitionState = field(default_factory=PartitionState)
    values: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    def apply(self, flush: Flush) -> None:
        assert flush.before == self.state.applied
        self.state = flush.state
        for write in flush.writes:
            flat = [a if isinstance(a, bytes) else a.encode() for a in write.arguments]
            if write.command == "HSET":
                self.hashes.setdefault(write.key, {}).update(zip(flat[::2], flat[1::2], strict=True))
            elif write.command == "HDEL":
                for name in flat:
                    self.hashes.get(write.key, {}).pop(name, None)
            elif write.command == "APPEND":
                self.values[write.key] = self.values.get(write.key, b"") + flat[0]
            elif write.command == "SET":
                self.values[write.key] = flat[0]
            elif write.command == "DEL":
                self.values.pop(write.key, None)
                self.hashes.pop(write.key, None)
            else:
                assert write.command in ("ZADD", "ZREM")

    def loaded(self) -> Loaded:
        topics = {}
        for name, value in self.hashes.get(layout.topics_key(0), {}).items():
            game_id, _, topic = name.decode().partition("/")
            topics[game_id, topic] = StoredTopic.FromString(value)
        names = [*topics, *((GAME, topic) for topic in ("pulse/cheer", "audience", "metric/ping"))]
        states = {
            name: FoldState(
                logs={"": self.values.get(layout.part_log_key(0, *name, ""), b"")},
                hashes={"": self.hashes.get(layout.part_hash_key(0, *name, ""), {})},
            )
            for name in names
        }
        logs = (self.values.get(layout.log_key(0, each), b"") for each in ("origins", "votes"))
        return Loaded(self.state, topics, states, *logs)
