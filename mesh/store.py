"""Redis: where a partition's state lies, the one atomic step that writes it, and how results are read.

Keys of a partition share one hash tag, so a flush is atomic on a cluster too:

    {p7}:fence              the lease token of the one writer (I3)
    {p7}:applied            the stream sequence up to which the state is folded
    {p7}:topics             hash  <game>/<topic> -> Control: the definition, with its stage; empty for a pulse
    {p7}:votes:<game>/<topic>    hash  actor -> <option index>:<origin>:<origin_seq>
    {p7}:scores:<game>/<topic>   zset  actor -> points
    {p7}:reached:<game>/<topic>  hash  actor -> <Unix µs>:<origin>:<origin_seq>
    {p7}:origins            hash  origin -> ReplayWindow (I2)
    {p7}:results:<game>     hash  <topic> -> Partial

A flush carries the fence and the applied sequence it starts from; if either is not what
Redis holds, it changes nothing: the writer lost its lease, or Redis was emptied or went back
in time, and the writer must load again and fold from there (I4). Rejected: WATCH and
MULTI, which needs two round trips for the same guarantee.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import ids, limits
from mesh.errors import TooLate

# KEYS: fence, applied, then every key the writes touch. ARGV: token, sequence before,
# sequence after, then for each write: command, index of its key, number of arguments, arguments.
_FLUSH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[2] then return redis.error_reply('REWOUND') end
local i = 4
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, i + 2 + n))
  i = i + 3 + n
end
redis.call('SET', KEYS[2], ARGV[3])
return 'OK'
"""

# KEYS: applied, results. Both of one moment.
_READ = "return {redis.call('GET', KEYS[1]) or '0', redis.call('HGETALL', KEYS[2])}"

_BARRIER_FIRST_WAIT_S = 0.004
_BARRIER_WAIT_MAX_S = 0.05


def tag(partition: int) -> str:
    return f"{{p{partition}}}"


def fence_key(partition: int) -> str:
    return f"{tag(partition)}:fence"


def applied_key(partition: int) -> str:
    return f"{tag(partition)}:applied"


def topics_key(partition: int) -> str:
    return f"{tag(partition)}:topics"


def origins_key(partition: int) -> str:
    return f"{tag(partition)}:origins"


def votes_key(partition: int, game_id: str, topic: str) -> str:
    return f"{tag(partition)}:votes:{game_id}/{topic}"


def scores_key(partition: int, game_id: str, topic: str) -> str:
    return f"{tag(partition)}:scores:{game_id}/{topic}"


def reached_key(partition: int, game_id: str, topic: str) -> str:
    return f"{tag(partition)}:reached:{game_id}/{topic}"


def results_key(partition: int, game_id: str) -> str:
    return f"{tag(partition)}:results:{game_id}"


class Fenced(Exception):
    """Another worker holds the partition now; nothing was written."""


class Rewound(Exception):
    """Redis does not hold the state this flush starts from; nothing was written."""


@dataclass(frozen=True, slots=True)
class Write:
    """One Redis command on one key of the partition: HSET, HDEL, ZADD."""

    command: str
    key: str
    arguments: Sequence[str | bytes]


def connect(url: str) -> Redis:
    """A client that retries for about a second before it raises."""
    return Redis.from_url(
        url,
        socket_timeout=2.0,
        socket_connect_timeout=1.0,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 6),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        health_check_interval=5,
    )


class PartitionStore:
    """What the writer of one partition needs."""

    def __init__(self, redis: Redis, partition: int) -> None:
        self._redis = redis
        self._partition = partition
        self._script = redis.register_script(_FLUSH)

    async def take_over(self, token: str) -> int:
        """Fences off any earlier writer; returns the applied sequence to go on from."""
        await self._redis.set(fence_key(self._partition), token)
        return int(await self._redis.get(applied_key(self._partition)) or 0)

    async def hash(self, key: str) -> dict[bytes, bytes]:
        return cast(dict[bytes, bytes], await self._redis.hgetall(key))

    async def scores(self, key: str) -> list[tuple[bytes, float]]:
        return cast(list[tuple[bytes, float]], await self._redis.zrange(key, 0, -1, withscores=True))

    async def flush(self, token: str, before: int, after: int, writes: Iterable[Write]) -> None:
        """Applies all writes and sets the applied sequence, or does nothing at all.

        Raises Fenced, Rewound; RedisError when it is unknown whether it took effect (the
        caller loads again: the applied sequence tells).
        """
        keys = [fence_key(self._partition), applied_key(self._partition)]
        index: dict[str, int] = {}
        arguments: list[str | bytes | int] = [token, before, after]
        for write in writes:
            at = index.get(write.key)
            if at is None:
                keys.append(write.key)
                at = index[write.key] = len(keys)
            arguments += (write.command, at, len(write.arguments))
            arguments += write.arguments
        try:
            await self._script(keys=keys, args=arguments)
        except ResponseError as error:
            if "FENCED" in str(error):
                raise Fenced from None
            if "REWOUND" in str(error):
                raise Rewound from None
            raise


@dataclass(frozen=True, slots=True)
class Share:
    """What one partition holds of a game, of one moment."""

    partition: int
    applied: int
    partials: Mapping[str, Partial]


class ResultStore:
    """Reads the results of a game; for gateways and `Read`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_READ)

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
        applied, flat = await self._script(keys=[applied_key(partition), results_key(partition, game_id)])
        partials = {flat[i].decode(): Partial.FromString(flat[i + 1]) for i in range(0, len(flat), 2)}
        return Share(partition, int(applied), partials)


class VoteStore:
    """Looks up whether actors have voted; for ingest's courtesy check of second votes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def votes(self, key: str, actor_ids: Sequence[str]) -> list[bytes | None]:
        """For each actor the vote stored under a votes key, `<option index>:<origin>:<origin_seq>`."""
        return cast(list[bytes | None], await self._redis.hmget(key, list(actor_ids)))


__all__ = [
    "Fenced",
    "PartitionStore",
    "RedisError",
    "ResultStore",
    "Rewound",
    "Share",
    "VoteStore",
    "Write",
    "connect",
]
assert limits.FLUSH_ARGUMENTS_MAX < 7_900, "Lua unpacks at most some 8,000 values"
