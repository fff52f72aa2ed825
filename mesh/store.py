"""Redis: the one atomic step that writes a partition's state, and how results are read.

Where everything lies is said in mesh.layout.

A flush carries the lease and the applied sequence it starts from; if either is not what
Redis holds, it changes nothing: the writer lost its lease (also when nobody else has it), or
Redis was emptied or went back in time, and the writer must load again and fold from there
(I4). Rejected: WATCH and MULTI, which needs two round trips for the same guarantee.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from redis.exceptions import ResponseError

from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Partial, StoredTopic
from mesh import ids, layout, limits, scripts
from mesh.database import Database, RedisError, Script
from mesh.errors import TooLate
from mesh.layout import Write

_LEASE_MS = int(limits.LEASE_S * 1000)
_BARRIER_FIRST_WAIT_S = 0.004
_BARRIER_WAIT_MAX_S = 0.05


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
        return Acquired(int(applied), stream.decode())

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

    async def flush(self, token: str, before: int, after: int, writes: Iterable[Write]) -> None:
        """Applies all writes, sets the applied sequence and renews the lease, or does nothing at all.

        Raises Fenced, Rewound, Corrupt; RedisError when it is unknown whether it took effect
        (the caller acquires again: the applied sequence tells).
        """
        keys, arguments = self._described(writes)
        await self._step(scripts.FLUSH, keys, [self._value(token), _LEASE_MS, before, after, *arguments])

    async def fill(self, token: str, writes: Iterable[Write]) -> None:
        """Puts a part of a state into a partition that has none, until a flush says that it is whole.

        Raises Fenced, Rewound (there is a state), Corrupt, RedisError.
        """
        keys, arguments = self._described(writes)
        await self._step(scripts.FILL, keys, [self._value(token), _LEASE_MS, *arguments])

    def _described(self, writes: Iterable[Write]) -> tuple[list[str], list[str | bytes | int]]:
        """The keys of a step, the lease and the applied sequence first, and its writes as arguments."""
        keys = [self._lease, self._applied]
        index: dict[str, int] = {}
        arguments: list[str | bytes | int] = []
        for write in writes:
            at = index.get(write.key)
            if at is None:
                keys.append(write.key)
                at = index[write.key] = len(keys)
            arguments += (write.command, at, len(write.arguments))
            arguments += write.arguments
        return keys, arguments

    async def mark(self, token: str, stream: str) -> None:
        """Notes which stream the state is folded from. Raises Fenced, RedisError."""
        await self._step(scripts.MARK, [self._lease, self._stream], [self._value(token), stream])

    async def reset(self, token: str, stream: str) -> None:
        """Erases the state and notes the stream it will be folded from; the lease stays.

        Raises Fenced, Rewound (somebody wrote meanwhile; the caller acquires again), RedisError.
        """
        await self._erase(self._value(token), stream)

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

    async def _erase(self, value: str, stream: str) -> None:
        applied = await self.applied()
        keys = [self._lease, self._applied, self._stream, *await self.state_keys()]
        await self._step(scripts.ERASE, keys, [value, applied, stream])

    async def state_keys(self) -> list[str]:
        """Every key a state can have beside its applied sequence, the topics first.

        Of a topic's own keys, those of the parts it has or may have had.
        """
        p = self._partition
        keys = [layout.topics_key(p), layout.log_key(p, "origins"), layout.log_key(p, "votes")]
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
        for (game_id, topic), names in parts.items():
            for part in names | {""}:
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
        if "WRONGTYPE" in str(error):
            raise Corrupt(str(error)) from None
        raise


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
        """As `read`, of a moment that includes every position (I6).

        Positions of partitions that this game does not fold in are met at once: nothing of
        them can be in its results. Raises TooLate after `patience_s`, naming the position.
        """
        wanted: dict[int, int] = {}
        for position in positions:
            wanted[position.partition] = max(position.sequence, wanted.get(position.partition, 0))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        wait_s = _BARRIER_FIRST_WAIT_S
        while True:
            shares = await self.read(game_id, spread)
            behind = [s for s in shares if s.applied < wanted.get(s.partition, 0)]
            if not behind:
                return shares
            if loop.time() + wait_s > deadline:
                late = behind[0]
                raise TooLate(
                    f"position {wanted[late.partition]} of partition {late.partition} was not reached within "
                    f"{patience_s:g} s (applied: {late.applied}); ask again"
                )
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _BARRIER_WAIT_MAX_S)

    async def _read_share(self, game_id: str, partition: int) -> Share:
        keys = [layout.applied_key(partition), layout.results_key(partition, game_id)]
        applied, flat = await self._database.run(scripts.READ, keys)
        partials = {flat[i].decode(): Partial.FromString(flat[i + 1]) for i in range(0, len(flat), 2)}
        return Share(partition, int(applied), partials)


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
    "Write",
    "connect",
]
assert limits.FLUSH_ARGUMENTS_MAX < 7_900, "Lua unpacks at most some 8,000 values"
