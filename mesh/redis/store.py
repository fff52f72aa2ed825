"""Redis: the one atomic step that writes a partition's state, and how results are read.

Where everything lies is said in mesh.redis.layout.

A flush carries the lease and the applied sequence it starts from; if either is not what
Redis holds, it changes nothing: the writer lost its lease (also when nobody else has it), or
Redis was emptied or went back in time, and the writer must load again and fold from there
(I4). A flush also keeps the manifest, by which the next owner proves that what it loads is all of one
state (see mesh.redis.manifest). Rejected: WATCH and MULTI, which needs two round trips for the same
guarantee.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from redis.exceptions import ResponseError

from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Partial, PartitionState, StoredTopic
from mesh import ids, limits
from mesh.errors import TooLate, Unavailable
from mesh.redis import layout, manifest, scripts
from mesh.redis.database import Database, RedisError, Script
from mesh.redis.layout import Write
from mesh.redis.manifest import KeyState, Manifest, ManifestMismatch

_LEASE_MS = int(limits.LEASE_S * 1000)
_BARRIER_FIRST_WAIT_S = 0.004
_BARRIER_WAIT_MAX_S = 0.05
_HELD_AT_ONCE = 1_000


class Fenced(Exception):
    """The lease is not this writer's (any more); nothing was written."""


class Rewound(Exception):
    """Redis does not hold the state this step starts from; nothing was written."""


class Corrupt(Exception):
    """A key does not hold what it must: the state is to be erased and folded again."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a new owner finds."""

    applied: int
    stream: str
    """The identity of the stream that the state was folded from; "" where there is no state."""
    target: int = 0
    """Until this block is folded, readers are told to wait."""


@dataclass(frozen=True, slots=True)
class Standing:
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


def connect(url: str) -> Database:
    """A client of the server or cluster at `url`; nothing is sent before its first call."""
    return Database(url)


class PartitionStore:
    """What the writer of one partition needs. A token is for one life of a writer, and one acquisition."""

    def __init__(self, database: Database, partition: int, instance: str) -> None:
        if not instance or " " in instance:
            raise ValueError(f"instance {instance!r} is empty or has a space in it")
        self._database = database
        self._partition = partition
        self._instance = instance
        self._lease = layout.lease_key(partition)
        self._applied = layout.applied_key(partition)
        self._stream = layout.stream_key(partition)
        self._manifest = layout.manifest_key(partition)

    async def acquire(self, token: str) -> Acquired | None:
        """Takes the lease if it is free, or of a former life of this instance; None while it is another's."""
        answer = await self._database.run(
            scripts.ACQUIRE,
            [self._lease, self._applied, self._stream],
            [f"{self._instance} ", token, _LEASE_MS],
        )
        if isinstance(answer, bytes):
            return None
        applied, stream = answer
        identity, _, target = stream.decode().rpartition(" ")
        return Acquired(int(applied), identity, int(target or 0))

    async def renew(self, token: str) -> bool:
        """False if the lease is lost."""
        return bool(await self._database.run(scripts.RENEW, [self._lease], [self._value(token), _LEASE_MS]))

    async def release(self, token: str) -> None:
        """Gives the lease up if it is still this writer's."""
        await self._database.run(scripts.RELEASE, [self._lease], [self._value(token)])

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """Raises Corrupt, RedisError."""
        with _told_apart():
            return await self._database.hash(key)

    async def log(self, key: str) -> bytes:
        """b"" if there is none. Raises Corrupt, RedisError."""
        with _told_apart():
            return await self._database.string(key)

    async def ranking(self, key: str) -> list[tuple[bytes, float]]:
        """Raises Corrupt, RedisError."""
        with _told_apart():
            return await self._database.ranking(key)

    async def standing(self, token: str = "") -> Standing:
        """Raises Corrupt, RedisError."""
        keys = [self._lease, self._applied, self._stream, self._manifest]
        with _told_apart():
            lease, applied, stream, flat = await self._database.run(scripts.STANDING, keys)
        return Standing(
            held=lease.decode() == self._value(token),
            applied=int(applied),
            stream=stream.decode().rpartition(" ")[0],
            manifest=dict(zip(flat[::2], flat[1::2], strict=True)),
        )

    async def verify(self, listed: Manifest) -> None:
        """Whether every key of the state is there and is as the manifest says. Raises Corrupt, RedisError."""
        found: dict[str, KeyState] = {}
        for names in manifest.chunks(listed.keys, _HELD_AT_ONCE):
            keys = [f"{layout.tag(self._partition)}:{name}" for name in names]
            with _told_apart():
                flat = await self._database.run(scripts.HELD, keys, names)
            for name, length, carried in zip(names, flat[::2], flat[1::2], strict=True):
                found[name] = KeyState(manifest.carried(name, carried), length)
        try:
            manifest.check(listed.keys, found)
        except ManifestMismatch as error:
            raise Corrupt(str(error)) from None

    async def flush(self, token: str, before: int, state: PartitionState, writes: Iterable[Write]) -> None:
        """Applies all writes, sets the applied sequence to the state's, keeps the manifest and renews the
        lease, or does nothing at all.

        Raises Fenced, Rewound, Corrupt; RedisError when it is unknown whether it took effect
        (the caller acquires again: the applied sequence tells).
        """
        after = state.applied
        keys, arguments = _described([self._lease, self._applied, self._manifest], writes, after)
        encoded = state.SerializeToString()
        await self._step(
            scripts.FLUSH, keys, [self._value(token), _LEASE_MS, before, after, encoded, *arguments]
        )

    async def fill(self, token: str, writes: Iterable[Write]) -> None:
        """Puts a part of a state, as it was read, into a partition that has none, until a flush from 0 says
        that it is whole.

        Raises Fenced, Rewound (there is a state), Corrupt, RedisError.
        """
        keys, arguments = _described([self._lease, self._applied], writes, None)
        await self._step(scripts.FILL, keys, [self._value(token), _LEASE_MS, *arguments])

    async def reset(self, token: str, stream: str, target: int) -> None:
        """Erases the state and notes the stream it will be folded from; the lease stays.

        `target`: the partition's last block; until it is folded, readers are told to wait.
        Raises Fenced, Rewound (somebody wrote meanwhile; the caller acquires again), RedisError.
        """
        await self._erase(self._value(token), f"{stream} {target}")

    async def erase(self, token: str) -> None:
        """Takes the lease from whoever has it, erases the state, and leaves both to be taken.

        Raises Fenced, Rewound if a new owner was faster (try again), RedisError.
        """
        value = self._value(token)
        await self._database.run(scripts.SEIZE, [self._lease], [value, _LEASE_MS])
        await self._erase(value, "")

    async def applied(self) -> int:
        """What is folded and stored; for whoever waits for it."""
        return int(await self._database.string(self._applied) or 0)

    async def stream(self) -> str:
        """The identity of the stream that the state is folded from; "" once that is lost."""
        return (await self._database.string(self._stream)).decode().rpartition(" ")[0]

    async def _erase(self, value: str, stream: str) -> None:
        applied = await self.applied()
        keys = [self._lease, self._applied, self._stream, self._manifest, *await self._state_keys()]
        await self._step(scripts.ERASE, keys, [value, applied, stream])

    async def _state_keys(self) -> list[str]:
        """Every key a state can have: those that its manifest lists, and, should that be lost or of an
        older release, those of the topics and of the parts that they have or may have had."""
        p = self._partition
        keys = [layout.topics_key(p), layout.log_key(p, "origins"), layout.log_key(p, "votes")]
        with contextlib.suppress(Corrupt):
            listed = await self.hash(self._manifest)
            names = (name.decode(errors="replace") for name in listed if not name.startswith(b"!"))
            keys += (f"{layout.tag(p)}:{name}" for name in names)
            if manifest.STATE in listed:
                return keys
        parts: dict[tuple[str, str], set[str]] = {}
        with contextlib.suppress(Corrupt):  # who erases may well do so because of that
            for name, value in (await self.hash(layout.topics_key(p))).items():
                game_id, _, topic = name.decode(errors="replace").partition("/")
                parts.setdefault((game_id, topic), set()).update(_parts_of(value))
        for game_id in sorted({game_id for game_id, _ in parts}):
            keys.append(layout.results_key(p, game_id))
            with contextlib.suppress(Corrupt), _told_apart():
                for name in await self._database.names(layout.results_key(p, game_id)):
                    parts.setdefault((game_id, name.decode(errors="replace")), set())
        for (game_id, topic), known in parts.items():
            for part in known | {""}:
                keys += (key(p, game_id, topic, part) for key in layout.PART_KEYS)
        return keys

    async def _step(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> None:
        with _told_apart():
            await self._database.run(script, keys, arguments)

    def _value(self, token: str) -> str:
        return f"{self._instance} {token}"


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """What a script refuses, or a key of the wrong type, as an exception of its own."""
    try:
        yield
    except ResponseError as error:
        if "FENCED" in str(error):
            raise Fenced("the lease is lost") from None
        if "REWOUND" in str(error):
            raise Rewound("the stored state is another") from None
        if "CORRUPT" in str(error):
            raise Corrupt(f"{str(error).partition('CORRUPT ')[2].split()[0]} is lost or went back") from None
        if "WRONGTYPE" in str(error):
            raise Corrupt(str(error)) from None
        raise


def _described(
    keys: list[str], writes: Iterable[Write], sequence: int | None
) -> tuple[list[str], list[str | bytes | int]]:
    """The keys of a step, `keys` first, and its writes as arguments; each key is left to carry `sequence`."""
    index: dict[str, int] = {}
    arguments: list[str | bytes | int] = []
    bare: dict[str, int] = {}
    """Keys that were written and do not carry the sequence yet."""
    for write in writes:
        key, command, given = write.key, write.command, write.arguments
        at = index.get(key)
        if at is None:
            keys.append(key)
            at = index[key] = len(keys)
        if sequence is not None:
            match command:
                case "HSET":
                    given = (*given, manifest.AT, str(sequence))
                    bare.pop(key, None)
                case "APPEND" | "SET":
                    given = (_bytes(given[0]) + manifest.tail(sequence),)
                case "ZADD":
                    given = (*given, manifest.score(sequence), manifest.MEMBER)
                    bare.pop(key, None)
                case "DEL":
                    bare.pop(key, None)
                case _:
                    bare[key] = at
        arguments += (command, at, len(given))
        arguments += given
    for key, at in bare.items():
        assert sequence is not None
        if manifest.kind_of(layout.name_of(key)) == "ranking":
            arguments += ("ZADD", at, 2, manifest.score(sequence), manifest.MEMBER)
        else:
            arguments += ("HSET", at, 2, manifest.AT, str(sequence))
    return keys, arguments


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _parts_of(stored: bytes) -> Iterable[str]:
    try:
        return StoredTopic.FromString(stored).parts
    except DecodeError:
        return ()


@dataclass(frozen=True, slots=True)
class Share:
    """What one partition holds of a game, of one moment."""

    partition: int
    applied: int
    partials: Mapping[str, Partial]
    whole: bool = True
    """False while the partition is folded anew, or a part of its results is lost: then it is no answer."""


class ResultStore:
    """Reads the results of a game; for gateways and `Read`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, game_id: str, spread: int) -> list[Share]:
        """The game's shares, one for each of its partitions. Raises RedisError."""
        return list(
            await asyncio.gather(
                *(self._read_share(game_id, p) for p in dict.fromkeys(ids.partitions_of(game_id, spread)))
            )
        )

    async def read_at_least(
        self, game_id: str, spread: int, positions: Iterable[Position], patience_s: float
    ) -> list[Share]:
        """As `read`, of a moment that includes every position (I6), and in which every share is whole.

        Positions of partitions that this game does not fold in are met at once: nothing of
        them can be in its results. Raises TooLate after `patience_s`, naming the position, or Unavailable
        naming the partition that is folded anew; RedisError.
        """
        wanted: dict[int, int] = {}
        for position in positions:
            wanted[position.partition] = max(position.sequence, wanted.get(position.partition, 0))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        wait_s = _BARRIER_FIRST_WAIT_S
        while True:
            shares = await self.read(game_id, spread)
            late = next((s for s in shares if not s.whole), None) or next(
                (s for s in shares if s.applied < wanted.get(s.partition, 0)), None
            )
            if late is None:
                return shares
            if loop.time() + wait_s > deadline:
                if not late.whole:
                    raise Unavailable(folded_anew(late.partition))
                raise TooLate(
                    f"position {wanted[late.partition]} of partition {late.partition} was not reached within "
                    f"{patience_s:g} s (applied: {late.applied}); ask again"
                )
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _BARRIER_WAIT_MAX_S)

    async def _read_share(self, game_id: str, partition: int) -> Share:
        results = layout.results_key(partition, game_id)
        of = (layout.applied_key, layout.stream_key, layout.manifest_key)
        keys = [*(key(partition) for key in of), results]
        applied, whole, flat = await self._database.run(scripts.READ, keys, [layout.name_of(results)])
        partials = {
            flat[i].decode(): Partial.FromString(flat[i + 1])
            for i in range(0, len(flat), 2)
            if not flat[i].startswith(b"!")
        }
        return Share(partition, int(applied), partials, bool(whole))


def folded_anew(partition: int) -> str:
    return f"partition {partition} is being folded anew from the event stream; try again"


__all__ = [
    "Acquired",
    "Corrupt",
    "Database",
    "Fenced",
    "PartitionStore",
    "RedisError",
    "ResultStore",
    "Rewound",
    "Share",
    "Standing",
    "Write",
    "connect",
    "folded_anew",
]
assert limits.FLUSH_ARGUMENTS_MAX < 7_900, "Lua unpacks at most some 8,000 values"
