"""Counts a poll or a board again from the event stream, and compares that with what Redis has of it.

By partition: what is shown (its partial, of one moment) is held against the naive count (mesh.recount) of the
stream up to the sequence that Redis says it has applied. So is the state that the next partials are made of:
a change of that alone would be shown later. What was purged is taken from the checkpoint; without one that
can be read, the partition is unknown.

Memory: of one partition at a time: a row for each actor of the topic, a window for each origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from struct import error as struct_error
from typing import Any

from google.protobuf.message import DecodeError

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Board, Poll
from grandstand.internal.v1.internal_pb2 import Partial, VoteLog
from grandstand.wire import ids
from grandstand.wire.errors import Unknown
from mesh.explain.question import ExplainQuestion, topic_of
from mesh.explain.stream_reader import Extent, StreamReader
from mesh.jetstream.bus import Bus
from mesh.recount import scores, votes
from mesh.recount.partition import PartitionRecount, TopicState
from mesh.recount.restored import restored, take_scores, take_votes
from mesh.recount.scope import of_topic
from mesh.recount.scores import BoardCount
from mesh.recount.votes import PollCount
from mesh.redis import layout
from mesh.redis.database import Database
from mesh.redis.results import ResultStore
from mesh.redis.share import Share

_LOOKS_MAX = 20
"""At a partition's state, until two looks in a row are of one moment."""

Figures = Mapping[str, object]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    figure: str
    counted: object
    """None: the stream does not have it."""
    found: object
    """None: Redis does not have it."""
    where: str
    """"shown" or "state"."""


@dataclass(slots=True)
class PartitionAudit:
    partition: int
    applied: int = 0
    blocks: int = 0
    """Counted."""
    purged_up_to: int = 0
    checkpoint: int = 0
    """From which the count goes on; 0: it begins with the stream."""
    differences: list[Difference] = field(default_factory=list)
    unknown: str = ""
    """Why it cannot be told."""


class Audit:
    def __init__(self, bus: Bus, database: Database, progress: Progress) -> None:
        self._reader = StreamReader(bus)
        self._database = database
        self._results = ResultStore(database)
        self._progress = progress

    async def run(self, game_id: str, topic: str) -> list[PartitionAudit]:
        """Of each of the topic's partitions. Raises Unknown, NatsError, TimeoutError, RedisError."""
        game, definitions = await self._reader.definitions(game_id)
        found = next((each for each in definitions if topic_of(each) == topic), None)
        if found is None:
            raise Unknown(f"the catalog does not know {topic} of game {game_id}")
        spread = max(1, found.spread or (game.spread if game is not None else 1))
        since_s = ExplainQuestion(game_id, "", topic).begins_s(game, definitions)
        partitions = dict.fromkeys(ids.partitions_of(game_id, spread))
        return [await self._partition(found, partition, since_s) for partition in partitions]

    async def _partition(self, definition: Poll | Board, partition: int, since_s: float) -> PartitionAudit:
        key = (definition.game_id, topic_of(definition))
        audit = PartitionAudit(partition)
        share, state = await self._found(definition, partition)
        extent = await self._reader.extent(partition)
        audit.applied, audit.purged_up_to = share.applied, extent.purged_up_to
        if not share.whole:
            audit.unknown = "it is being rebuilt, or a part of its state is lost: audit it once it is whole"
        elif share.stream != extent.stream:
            audit.unknown = "its state in Redis is of another event stream than the one that is there"
        else:
            await self._recount(key, extent, since_s, audit, share.partials.get(key[1]), state)
        return audit

    async def _recount(
        self,
        key: tuple[str, str],
        extent: Extent,
        since_s: float,
        audit: PartitionAudit,
        shown: Partial | None,
        state: PollCount | BoardCount | None,
    ) -> None:
        start = await self._reader.first_since(audit.partition, extent, since_s) if extent.last else 0
        count = PartitionRecount(of_topic(key))
        count.begins_late = True
        if extent.purged_up_to and extent.purged_up_to >= start:
            checkpoint = await self._reader.checkpoint(audit.partition, extent, upto=audit.applied)
            if checkpoint is None:
                audit.unknown = (
                    f"its blocks below {extent.purged_up_to} are purged, and there is no checkpoint between "
                    f"that and the applied {audit.applied} that can be read"
                )
                return
            try:
                count = restored(of_topic(key), checkpoint)
            except (DecodeError, struct_error, ValueError) as error:
                audit.unknown = f"its checkpoint at {checkpoint.applied} makes no sense: {error}"
                return
            audit.checkpoint = checkpoint.applied
        if start:
            await self._read(count, start, audit)
        counted = count.topics.get(key)
        audit.differences += compared(counted, shown)
        if counted is not None and counted.count is not None and state is not None:
            audit.differences += differences(counted.count.figures(), state.figures(), "state")

    async def _read(self, count: PartitionRecount, start: int, audit: PartitionAudit) -> None:
        letters = await self._reader.letters(audit.partition, start)
        async with aclosing(self._reader.blocks(audit.partition, start, audit.applied)) as batches:
            async for batch, left in batches:
                for block in batch:
                    if block.sequence > count.folded:
                        said = letters.get(block.sequence, ())
                        count.apply(block.sequence, block.data, int(block.stored_at_s * 1e6), said)
                        audit.blocks += 1
                self._progress(audit.blocks, left)

    async def _found(
        self, definition: Poll | Board, partition: int
    ) -> tuple[Share, PollCount | BoardCount | None]:
        """What is shown, and the state of the same moment; no state of a topic that has none (any more), or
        that changes too fast to be read at one moment."""
        game_id, topic = definition.game_id, topic_of(definition)
        for _ in range(_LOOKS_MAX):
            share = (await self._results.shares(partition, [game_id]))[game_id]
            partial = share.partials.get(topic)
            if partial is None or partial.stage == STAGE_SEALED:
                return share, None
            state = await self._state(definition, partition)
            if (await self._results.shares(partition, [game_id]))[game_id].applied == share.applied:
                return share, state
        return share, None

    async def _state(self, definition: Poll | Board, partition: int) -> PollCount | BoardCount:
        game_id, topic = definition.game_id, topic_of(definition)
        if isinstance(definition, Poll):
            scratch, poll = PartitionRecount(of_topic((game_id, topic))), PollCount(definition)
            scratch.topics[game_id, topic] = TopicState(definition.generation, count=poll)
            log = await self._database.string(layout.log_key(partition, "votes"))
            for rows in VoteLog.FromString(log).rows:
                take_votes(scratch, rows)
            return poll
        board = BoardCount(definition)
        prefix = layout.name_of(layout.part_hash_key(partition, game_id, topic, ""))
        names = await self._database.names(layout.manifest_key(partition))
        parts = [name.decode().removeprefix(prefix) for name in names if name.startswith(prefix.encode())]
        held = {
            part: await self._database.hash(layout.part_hash_key(partition, game_id, topic, part))
            for part in parts
        }
        take_scores(board, held)
        return board


def compared(counted: TopicState | None, shown: Partial | None) -> list[Difference]:
    """What is shown of a topic against what was counted. Pure."""
    has_count = counted is not None and counted.count is not None
    if shown is None or not has_count:
        if shown is None and not has_count:
            return []
        return [Difference("result", has_count or None, shown is not None or None, "shown")]
    assert counted is not None
    assert counted.count is not None
    figures = (
        votes.figures_of(shown.tally)
        if isinstance(counted.count, PollCount)
        else scores.figures_of(shown.board)
    )
    found = differences(counted.count.figures(), figures, "shown")
    if counted.stage != shown.stage:
        found.append(Difference("stage", counted.stage, shown.stage, "shown"))
    return found


def differences(counted: Figures, found: Figures, where: str) -> list[Difference]:
    return [
        Difference(name, counted.get(name), found.get(name), where)
        for name in dict.fromkeys([*counted, *found])
        if counted.get(name) != found.get(name)
    ]


def as_json(audits: list[PartitionAudit]) -> list[dict[str, Any]]:
    return [
        {
            "partition": audit.partition,
            "applied": audit.applied,
            "blocks": audit.blocks,
            "purged_up_to": audit.purged_up_to,
            "checkpoint": audit.checkpoint,
            "unknown": audit.unknown,
            "differences": [
                {"figure": each.figure, "counted": each.counted, each.where: each.found}
                for each in audit.differences
            ],
        }
        for audit in audits
    ]
