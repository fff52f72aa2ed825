"""A partition's state as one message: read from Redis by its owner, and put back by a later one.

What is read takes several steps, and Redis may be put back to an older moment between them, lease and
all: so each key read must carry what the manifest says, and the manifest, the applied sequence and the
lease are read last, in one step. What is put back counts as a state only once the last step sets its
applied sequence; the manifest comes first, because by it everything else is found and erased, should the
owner die half-way.
"""

from __future__ import annotations

from collections.abc import Iterator

from aggregate import bounds
from aggregate.manifest import KeyState, ManifestMismatch, check, held_hash, held_log, held_ranking, kind_of
from aggregate.partition_store import PartitionStore
from grandstand.internal.v1.internal_pb2 import Checkpoint, CheckpointKey
from mesh.redis import layout
from mesh.redis.errors import Corrupt, Fenced, Rewound
from mesh.redis.layout import Write

_MANIFEST = "manifest"


async def take(stored: PartitionStore, token: str, partition: int, applied: int, stream: str) -> Checkpoint:
    """All there is at `applied`, proven. Raises Fenced, Rewound, Corrupt, RedisError."""
    found = Checkpoint(partition=partition, applied=applied, stream=stream)
    held: dict[str, KeyState] = {}
    for name in (await stored.standing()).listed().keys:
        key = found.keys.add(name=name)
        held[name] = await _read(stored, f"{layout.tag(partition)}:{name}", key)
    last = await stored.standing(token)
    if not last.held:
        raise Fenced("the lease is lost")
    if (last.applied, last.stream) != (applied, stream):
        raise Rewound(f"the stored state went back from {applied} to {last.applied}")
    listed = last.listed()
    try:
        check(listed.keys, held)
    except ManifestMismatch as error:
        raise Corrupt(f"no checkpoint is taken: {error}") from None
    flat = [part for field in last.manifest.items() for part in field]
    found.keys.insert(0, CheckpointKey(name=_MANIFEST, fields=flat))
    found.state.CopyFrom(listed.state)
    return found


async def _read(stored: PartitionStore, key: str, into: CheckpointKey) -> KeyState:
    match kind_of(into.name):
        case "log":
            into.log = await stored.log(key)
            return held_log(into.log)
        case "ranking":
            ranking = await stored.ranking(key)
            into.members.extend(member for member, _ in ranking)
            into.scores.extend(score for _, score in ranking)
            return held_ranking(ranking)
    fields = await stored.hash(key)
    into.fields.extend(part for field in fields.items() for part in field)
    return held_hash(fields)


async def restore(stored: PartitionStore, token: str, checkpoint: Checkpoint) -> None:
    """Puts it into a partition that was reset. Raises Fenced, Rewound, Corrupt, RedisError."""
    batch: list[Write] = []
    size = 0
    for write in writes_of(checkpoint):
        batch.append(write)
        size += sum(map(len, write.arguments))
        if size >= bounds.RESTORE_BYTES_MAX:
            await stored.fill(token, batch)
            batch, size = [], 0
    await stored.fill(token, batch)
    listed = sum(key.name != _MANIFEST for key in checkpoint.keys)
    await stored.flush(token, 0, checkpoint.state, [], filled=listed)


def writes_of(checkpoint: Checkpoint) -> Iterator[Write]:
    """In small pieces, each of which may be repeated."""
    prefix = f"{layout.tag(checkpoint.partition)}:"
    for key in checkpoint.keys:
        name, fields = prefix + key.name, list(key.fields)
        if key.name == _MANIFEST:
            # Without what says of what it is the manifest: the flush that ends it does.
            pairs = zip(key.fields[::2], key.fields[1::2], strict=True)
            fields = [part for pair in pairs if not pair[0].startswith(b"!") for part in pair]
        for at in range(0, len(key.log), bounds.RESTORE_BYTES_MAX):
            piece = key.log[at : at + bounds.RESTORE_BYTES_MAX]
            yield Write("SETRANGE", name, (str(at), piece))
        for at in range(0, len(fields), bounds.FLUSH_ARGUMENTS_MAX):
            yield Write("HSET", name, fields[at : at + bounds.FLUSH_ARGUMENTS_MAX])
        for at in range(0, len(key.members), bounds.FLUSH_ARGUMENTS_MAX // 2):
            to = at + bounds.FLUSH_ARGUMENTS_MAX // 2
            scored = zip(key.scores[at:to], key.members[at:to], strict=True)
            yield Write("ZADD", name, [part for score, member in scored for part in (repr(score), member)])
