"""A partition's state as one message: read from Redis by its owner, and put back by a later one.

Only the owner may read or restore: nothing changes between the reads, and what is put back
counts as a state only once the last step sets its applied sequence. Topics and
results come first, because by them everything else is found and erased, should the owner die
half-way.
"""

from __future__ import annotations

from collections.abc import Iterator

from grandstand.internal.v1.internal_pb2 import Checkpoint, CheckpointKey
from mesh import layout, limits
from mesh.layout import Write
from mesh.store import PartitionStore

_FIELDS = ("topics", "results:", "hash:")
_RANKING = "rank:"


async def take(stored: PartitionStore, partition: int, applied: int, stream: str) -> Checkpoint:
    """All there is at `applied`. Raises Corrupt, RedisError."""
    found = Checkpoint(partition=partition, applied=applied, stream=stream)
    prefix = f"{layout.tag(partition)}:"
    for key in await stored.state_keys():
        name = key.removeprefix(prefix)
        if name.startswith(_FIELDS):
            fields = await stored.hash(key)
            if fields:
                flat = [part for field in fields.items() for part in field]
                found.keys.append(CheckpointKey(name=name, fields=flat))
        elif name.startswith(_RANKING):
            ranking = await stored.ranking(key)
            if ranking:
                members, scores = [m for m, _ in ranking], [s for _, s in ranking]
                found.keys.append(CheckpointKey(name=name, members=members, scores=scores))
        elif log := await stored.log(key):
            found.keys.append(CheckpointKey(name=name, log=log))
    found.keys.sort(key=lambda key: not key.name.startswith(_FIELDS[:2]))
    return found


async def restore(stored: PartitionStore, token: str, checkpoint: Checkpoint) -> None:
    """Puts it into a partition that was reset. Raises Fenced, Rewound, RedisError."""
    batch: list[Write] = []
    size = 0
    for write in writes_of(checkpoint):
        batch.append(write)
        size += sum(map(len, write.arguments))
        if size >= limits.RESTORE_BYTES_MAX:
            await stored.fill(token, batch)
            batch, size = [], 0
    await stored.fill(token, batch)
    await stored.flush(token, 0, checkpoint.applied, [])


def writes_of(checkpoint: Checkpoint) -> Iterator[Write]:
    """In small pieces, each of which may be repeated."""
    prefix = f"{layout.tag(checkpoint.partition)}:"
    for key in checkpoint.keys:
        name = prefix + key.name
        for at in range(0, len(key.log), limits.RESTORE_BYTES_MAX):
            piece = key.log[at : at + limits.RESTORE_BYTES_MAX]
            yield Write("SETRANGE", name, (str(at), piece))
        for at in range(0, len(key.fields), limits.FLUSH_ARGUMENTS_MAX):
            yield Write("HSET", name, key.fields[at : at + limits.FLUSH_ARGUMENTS_MAX])
        for at in range(0, len(key.members), limits.FLUSH_ARGUMENTS_MAX // 2):
            to = at + limits.FLUSH_ARGUMENTS_MAX // 2
            pairs = zip(key.scores[at:to], key.members[at:to], strict=True)
            yield Write("ZADD", name, [part for score, member in pairs for part in (repr(score), member)])
