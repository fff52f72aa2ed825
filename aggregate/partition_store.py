"""What the one writer of a partition does in Redis: its lease, its state, and the atomic step that writes it.

Where everything lies is said in mesh.redis.layout.

A flush carries the lease and the applied sequence it starts from; if either is not what
Redis holds, it changes nothing: the writer lost its lease (also when nobody else has it), or
Redis was emptied or went back in time, and the writer must load again and fold from there
(I4). A flush also keeps the manifest, by which the next owner proves that what it loads is all of one
state (see aggregate.manifest). Rejected: WATCH and MULTI, which needs two round trips for the same
guarantee.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aggregate import bounds, manifest, partition_scripts
from aggregate.manifest import KeyState, Manifest, ManifestMismatch
from grandstand.internal.v1.internal_pb2 import PartitionState
from mesh import limits
from mesh.redis import layout
from mesh.redis.database import Argument, Database, Script
from mesh.redis.eraser import Eraser
from mesh.redis.errors import Corrupt, told_apart
from mesh.redis.layout import Write

_LEASE_MS = int(limits.LEASE_S * 1000)
_PROBE_MS = 60_000
_HELD_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a new owner finds."""

    applied: int
    stream: str
    """The identity of the stream that the state was folded from; "" where there is no state."""
    target: int = 0
    """Until this block is folded, readers are told to wait."""


class LeaseRenewed(NamedTuple):
    """A lease was renewed while the state stood at `applied`."""

    applied: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a part of the state found, of one moment."""

    applied: int
    stream: str
    manifest_at: int
    """What the manifest is of; the same as `applied`, or the manifest is lost or went back."""
    broken: str
    """A key that is lost, or is not what the manifest says; "" if all that were looked at are well."""
    listed: int
    """How many keys the manifest lists, or a few less."""
    next_at: str
    """Where the walk through the manifest goes on, for the next look."""
    names: Sequence[str]
    """The keys to look at then."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is stored beside the state's keys, of one moment."""

    held: bool
    """The lease is the asker's."""
    applied: int
    stream: str
    manifest: Mapping[bytes, bytes]
    """As it is stored."""

    def listed(self) -> Manifest:
        """Raises Corrupt unless it is the manifest of what is applied."""
        try:
            return manifest.parse(self.manifest, self.applied)
        except ManifestMismatch as error:
            raise Corrupt(str(error)) from None


class PartitionStore:
    """What the writer of one partition needs. A token is for one life of a writer, and one acquisition."""

    def __init__(self, database: Database, partition: int, instance: str) -> None:
        if not instance or " " in instance:
            raise ValueError(f"instance {instance!r} is empty or has a space in it")
        self._database = database
        self.eraser = Eraser(database, partition, instance)
        self._partition = partition
        self._instance = instance
        self._lease = layout.lease_key(partition)
        self._applied = layout.applied_key(partition)
        self._stream = layout.stream_key(partition)
        self._manifest = layout.manifest_key(partition)
        self._probe = layout.probe_key(partition)

    async def acquire(self, token: str) -> Acquired | None:
        """Takes the lease if it is free, or of a former life of this instance; None while it is another's."""
        answer = await self._database.run(
            partition_scripts.ACQUIRE,
            [self._lease, self._applied, self._stream],
            [f"{self._instance} ", token, _LEASE_MS],
        )
        if isinstance(answer, bytes):
            return None
        applied, stream = answer
        identity, _, target = stream.decode().rpartition(" ")
        return Acquired(int(applied), identity, int(target or 0))

    async def renew(self, token: str) -> LeaseRenewed | None:
        """None if the lease is lost."""
        renewed = await self._database.run(
            partition_scripts.RENEW, [self._lease, self._applied], [self._value(token), _LEASE_MS]
        )
        return LeaseRenewed(int(renewed)) if isinstance(renewed, bytes) else None

    async def look(self, names: Iterable[str], at: str, count: int) -> Looked:
        """Proves that Redis takes a write, and that these keys of the state are as the flushes that the
        manifest names left them; of which it says nothing, are passed over. `at`: where the walk through the
        manifest is, "0" at its beginning; `count`: about how many names to take from there. Raises
        RedisError, Corrupt."""
        keys = [self._applied, self._stream, self._manifest, self._probe]
        keys += (layout.key_of(self._partition, name) for name in names)
        arguments: list[Argument] = [self._instance, _PROBE_MS, at, count]
        with told_apart():
            found = await self._database.run(partition_scripts.LOOK, keys, arguments)
        applied, stream, manifest_at, listed, next_at, next_names, broken = found
        return Looked(
            applied=int(applied),
            stream=stream.decode().rpartition(" ")[0],
            manifest_at=int(manifest_at),
            broken=broken.decode(),
            listed=listed,
            next_at=next_at.decode(),
            names=[name.decode() for name in next_names],
        )

    async def release(self, token: str) -> None:
        """Gives the lease up if it is still this writer's."""
        await self._database.run(partition_scripts.RELEASE, [self._lease], [self._value(token)])

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """Raises Corrupt, RedisError."""
        with told_apart():
            return await self._database.hash(key)

    async def log(self, key: str) -> bytes:
        """b"" if there is none. Raises Corrupt, RedisError."""
        with told_apart():
            return await self._database.string(key)

    async def ranking(self, key: str) -> list[tuple[bytes, float]]:
        """Raises Corrupt, RedisError."""
        with told_apart():
            return await self._database.ranking(key)

    async def standing(self, token: str = "") -> StoredState:
        """Raises Corrupt, RedisError."""
        keys = [self._lease, self._applied, self._stream, self._manifest]
        with told_apart():
            lease, applied, stream, flat = await self._database.run(partition_scripts.STANDING, keys)
        return StoredState(
            held=lease.decode() == self._value(token),
            applied=int(applied),
            stream=stream.decode().rpartition(" ")[0],
            manifest=dict(zip(flat[::2], flat[1::2], strict=True)),
        )

    async def verify(self, listed: Manifest) -> None:
        """Whether every key of the state is there and is as the manifest says. Raises Corrupt, RedisError."""
        found: dict[str, KeyState] = {}
        for names in manifest.chunks(listed.keys, _HELD_AT_ONCE):
            keys = [layout.key_of(self._partition, name) for name in names]
            with told_apart():
                flat = await self._database.run(partition_scripts.HELD, keys, names)
            for name, length, carried in zip(names, flat[::2], flat[1::2], strict=True):
                found[name] = KeyState(manifest.carried(name, carried), length)
        try:
            manifest.check(listed.keys, found)
        except ManifestMismatch as error:
            raise Corrupt(str(error)) from None

    async def flush(
        self, token: str, before: int, state: PartitionState, writes: Sequence[Write], filled: int = -1
    ) -> None:
        """Applies all writes, sets the applied sequence to the state's, keeps the manifest and renews the
        lease, or does nothing at all. `filled`: of the flush that ends a restore, how many keys the manifest
        lists that was put back, which nothing else would miss; -1 for any other flush.

        Raises Fenced, Rewound, Corrupt; RedisError when it is unknown whether it took effect
        (the caller acquires again: the applied sequence tells).
        """
        after = state.applied
        keys, arguments = _described([self._lease, self._applied, self._manifest], writes, after)
        encoded = state.SerializeToString()
        await self._step(
            *(partition_scripts.FLUSH, keys),
            [self._value(token), _LEASE_MS, before, after, encoded, filled, *arguments],
        )

    async def fill(self, token: str, writes: Iterable[Write]) -> None:
        """Puts a part of a state, as it was read, into a partition that has none, until a flush from 0 says
        that it is whole.

        Raises Fenced, Rewound (there is a state), Corrupt, RedisError.
        """
        keys, arguments = _filled([self._lease, self._applied], writes)
        await self._step(partition_scripts.FILL, keys, [self._value(token), _LEASE_MS, *arguments])

    async def reset(self, token: str, stream: str, target: int) -> None:
        """Erases the state and notes the stream it will be folded from; the lease stays.

        `target`: the partition's last block; until it is folded, readers are told to wait.
        Raises Fenced, Rewound (somebody wrote meanwhile; the caller acquires again), RedisError.
        """
        await self.eraser.reset(token, stream, target)

    async def applied(self) -> int:
        """What is folded and stored; for whoever waits for it."""
        return await self.eraser.applied()

    async def _step(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        with told_apart():
            await self._database.run(script, keys, arguments)

    def _value(self, token: str) -> str:
        return f"{self._instance} {token}"


def _filled(keys: list[str], writes: Iterable[Write]) -> tuple[list[str], list[Argument]]:
    """The keys of a FILL, `keys` first, and its writes as arguments."""
    index: dict[str, int] = {}
    arguments: list[Argument] = []
    for command, key, given in writes:
        arguments += (command, _place(key, keys, index), len(given), *given)
    return keys, arguments


def _described(keys: list[str], writes: Sequence[Write], sequence: int) -> tuple[list[str], list[Argument]]:
    """The keys of a FLUSH, `keys` first, and its writes as arguments, from the number of fields that stand
    last; each key is left to carry `sequence`."""
    index: dict[str, int] = {}
    arguments: list[Argument] = [0]
    bare: dict[str, int] = {}
    """Keys that were written and do not carry the sequence yet."""
    cut = len(writes)
    while cut and writes[cut - 1].command == "HSET" and len(writes[cut - 1].arguments) == 2:
        cut -= 1
    for command, key, given in writes[:cut]:
        at = _place(key, keys, index)
        match command:
            case "APPEND" | "SET":
                given = (_bytes(given[0]) + manifest.tail(sequence),)
            case "ZADD":
                given = (*given, manifest.score(sequence), manifest.MEMBER)
                bare.pop(key, None)
            case "HSET" | "DEL":
                bare.pop(key, None)
            case _:
                bare[key] = at
        arguments += (command, at, len(given), *given)
    for key, at in bare.items():
        if manifest.kind_of(layout.name_of(key)) == "ranking":
            arguments += ("ZADD", at, 2, manifest.score(sequence), manifest.MEMBER)
        else:
            arguments += ("HSET", at, 0)
    arguments[0] = len(writes) - cut
    for _, key, given in writes[cut:]:
        at = index.get(key) or _place(key, keys, index)
        arguments += (at, *given)
    return keys, arguments


def _place(key: str, keys: list[str], index: dict[str, int]) -> int:
    at = index.get(key)
    if at is None:
        keys.append(key)
        at = index[key] = len(keys)
    return at


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


assert bounds.FLUSH_ARGUMENTS_MAX < 7_900, "Lua unpacks at most some 8,000 values"
