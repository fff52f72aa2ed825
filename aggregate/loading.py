"""Reads a partition's stored state back: at takeover, and when Redis was emptied or went back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from aggregate.fold import State
from aggregate.partition import Loaded
from aggregate.topics import TopicKey, topics_of_game
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.internal.v1.internal_pb2 import PartitionState, StoredTopic
from mesh import layout
from mesh.store import PartitionStore

_READS_AT_ONCE = 64

Read = TypeVar("Read")


async def load(stored: PartitionStore, index: int, applied: int) -> Loaded:
    """The state at `applied`. Only the one writer may load (it fenced the others off): nothing
    changes between the reads. Raises RedisError, DecodeError."""
    topics: dict[TopicKey, StoredTopic] = {}
    for name, value in (await stored.hash(layout.topics_key(index))).items():
        game_id, _, topic = name.decode().partition("/")
        topics[game_id, topic] = StoredTopic.FromString(value)
    wanted: dict[TopicKey, list[str]] = {}
    logs: list[TopicKey] = []
    for key, definition in topics.items():
        match definition.control.WhichOneof("definition"):
            case "game":
                logs += ((key[0], topic) for topic in topics_of_game(definition.control.game))
            case "board" if definition.control.board.stage != STAGE_SEALED:
                wanted[key] = list(definition.parts)
    found_logs = await _gathered(stored.log(layout.part_log_key(index, *key, "")) for key in logs)
    states = {key: State(logs={"": log}) for key, log in zip(logs, found_logs, strict=True) if log}
    parts = [(key, part) for key, names in wanted.items() for part in names]
    found = await _gathered(stored.hash(layout.part_hash_key(index, *key, part)) for key, part in parts)
    hashes: dict[TopicKey, dict[str, dict[bytes, bytes]]] = {}
    for (key, part), fields in zip(parts, found, strict=True):
        hashes.setdefault(key, {})[part] = fields
    states.update((key, State(hashes=fields)) for key, fields in hashes.items())
    return Loaded(
        PartitionState(applied=applied),
        topics,
        states,
        await stored.log(layout.log_key(index, "origins")),
        await stored.log(layout.log_key(index, "votes")),
    )


async def _gathered(reads: Iterable[Awaitable[Read]]) -> list[Read]:
    """The answers in order, _READS_AT_ONCE on the way at a time."""
    slots = asyncio.Semaphore(_READS_AT_ONCE)

    async def one(read: Awaitable[Read]) -> Read:
        async with slots:
            return await read

    return list(await asyncio.gather(*map(one, reads)))
