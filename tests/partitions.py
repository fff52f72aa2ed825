"""Folds blocks into a partition, for tests of the core, and reads what comes out."""

from __future__ import annotations

from aggregate.partition import Partition
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Poll
from grandstand.internal.v1.internal_pb2 import (
    Block,
    DeadLetter,
    Partial,
)
from mesh import limits
from tests import blocks


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
    return {partial.topic: partial for partial in flush.partials} if flush else {}


def set_aside(partition: Partition, block: Block | bytes) -> list[DeadLetter]:
    data = block if isinstance(block, bytes) else block.SerializeToString()
    return partition.fold(partition.folded + 1, data)


def votes_of(partial: Partial) -> dict[str, int]:
    return dict(zip(partial.tally.option_ids, partial.tally.votes, strict=True))


def points_of(partial: Partial) -> dict[str, int]:
    share = partial.board.current
    return dict(zip(share.actor_ids, share.points, strict=True))
