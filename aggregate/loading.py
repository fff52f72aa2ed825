"""Reads a partition's stored state back: at takeover, and when Redis was emptied or went back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from aggregate.fold import FoldState
from aggregate.manifest import AT, TAIL_BYTES
from aggregate.partition import Loaded
from aggregate.partition_store import PartitionStore
from aggregate.partition_store import StoredState as Standing
from aggregate.topics import TopicKey, topics_of_game
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.internal.v1.internal_pb2 import StoredTopic
from mesh.redis import layout
from mesh.redis.errors import Rewound

_READS_AT_ONCE = 64

Read = TypeVar("Read")


async def load(stored: PartitionStore, index: int, applied: int, standing: Standing | None = None) -> Loaded:
    """The state at `applied`, proven to be all of it and of one moment. Only the one writer may load (it
    fenced the others off): nothing changes between the reads, unless Redis itself goes back.

    Raises Corrupt (a key is lost, older, or no key of ours; or there is no manifest), Rewound, RedisError,
    DecodeError, ValueError.

    `standing`: if it was asked for already, and nobody has written since."""
    before = standing or await stored.standing()
    listed = before.listed()

    async def log(key: str) -> bytes:
        if layout.name_of(key) not in listed:
            return b""
        return (await stored.log(key))[:-TAIL_BYTES]

    async def fields(key: str) -> dict[bytes, bytes]:
        return await stored.hash(key) if layout.name_of(key) in listed else {}

    _, stored_topics, origins, votes = await asyncio.gather(
        stored.verify(listed),
        fields(layout.topics_key(index)),
        log(layout.log_key(index, "origins")),
        log(layout.log_key(index, "votes")),
    )
    topics: dict[TopicKey, StoredTopic] = {}
    for name, value in stored_topics.items():
        if name != AT:
            game_id, _, topic = name.decode().partition("/")
            topics[game_id, topic] = StoredTopic.FromString(value)
    wanted: dict[TopicKey, list[str]] = {}
    logs: list[TopicKey] = []
    for key, definition in topics.items():
        match definition.control.WhichOneof("definition"):
            case "game" if definition.control.game.stage != STAGE_SEALED:
                logs += ((key[0], topic) for topic in topics_of_game(definition.control.game))
            case "board" if definition.control.board.stage != STAGE_SEALED:
                wanted[key] = list(definition.parts)

    found_logs = await _gathered(log(layout.part_log_key(index, *key, "")) for key in logs)
    states = {key: FoldState(logs={"": log}) for key, log in zip(logs, found_logs, strict=True) if log}
    parts = [(key, part) for key, names in wanted.items() for part in names]
    found = await _gathered(fields(layout.part_hash_key(index, *key, part)) for key, part in parts)
    hashes: dict[TopicKey, dict[str, dict[bytes, bytes]]] = {}
    for (key, part), of_part in zip(parts, found, strict=True):
        hashes.setdefault(key, {})[part] = of_part
    states.update((key, FoldState(hashes=of_parts)) for key, of_parts in hashes.items())
    loaded = Loaded(
        listed.state,
        topics,
        states,
        origins,
        votes,
    )
    if not before.applied == applied == (await stored.standing()).applied:
        # What was read is of two moments: whatever is judged by it, such as a dead letter, is wrong.
        raise Rewound("Redis was emptied or went back while its state was read")
    return loaded


async def _gathered(reads: Iterable[Awaitable[Read]]) -> list[Read]:
    """The answers in order, _READS_AT_ONCE on the way at a time."""
    slots = asyncio.Semaphore(_READS_AT_ONCE)

    async def one(read: Awaitable[Read]) -> Read:
        async with slots:
            return await read

    return list(await asyncio.gather(*map(one, reads)))
