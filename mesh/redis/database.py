"""Redis, one server or a cluster, behind one narrow client: scripts, and reads of single keys.

Which of the two it is, the server itself is asked at the first call; so a process starts
before its Redis does, and a URL of any node of a cluster is enough. All keys of one call
share a hash tag (see aggregate.partition_store), so a script runs on one node of a cluster too.

A call is tried again for about a second, on a cluster also while a slot moves or its master
is away; a script may therefore run twice and must say for itself what a second run means.
Rejected: transactions (they cannot check a lease), and functions (each node of a cluster
must be loaded with them; a script brings itself).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import hiredis
from redis.asyncio import Connection, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthorizationError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Argument = str | bytes | int
Result = TypeVar("Result")

_TIMEOUT_S = 2.0
_CONNECT_TIMEOUT_S = 1.0
_RETRY_FIRST_S = 0.02
_RETRY_MAX_S = 0.2
_RETRIES = 6
# RedisClusterException is no RedisError. AttributeError: redis-py 8.1 closes connections under the calls
# that use them when it learns anew which node has which slots.
_NO_REDIS_ERROR = (RedisClusterException, AttributeError)
_AWAY = (RedisConnectionError, RedisTimeoutError, ClusterDownError, TryAgainError, *_NO_REDIS_ERROR)


class Script:
    """A Lua script and the name Redis knows it by."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class _Connection(Connection):
    """Packs commands by hiredis: a flush of a thousand games has ten thousand arguments, and redis-py
    joins them one by one."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # Redis wants a command's words as arguments, such as those of CONFIG GET.
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


class Database:
    """All methods raise RedisError."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | RedisCluster | None = None
        self._connecting = asyncio.Lock()

    async def is_cluster(self) -> bool:
        return isinstance(await self._connected(), RedisCluster)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        """Runs the script where the keys are; all of them have one hash tag."""

        async def call(client: Redis | RedisCluster) -> Any:
            try:
                return await client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.eval(script.source, len(keys), *keys, *arguments)

        return await self._call(call)

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """The fields of a hash; none if there is no such key."""
        return cast(dict[bytes, bytes], await self._call(lambda client: client.hgetall(key)))

    async def string(self, key: str) -> bytes:
        """The value of a key; b"" if there is no such key."""
        return cast(bytes | None, await self._call(lambda client: client.get(key))) or b""

    async def ranking(self, key: str) -> list[tuple[bytes, float]]:
        """The members of a sorted set, each with its score."""

        async def call(client: Redis | RedisCluster) -> list[tuple[bytes, float]]:
            found = await cast(Awaitable[Any], client.zrange(key, 0, -1, withscores=True))
            return [(member, float(score)) for member, score in found]

        return await self._call(call)

    async def names(self, key: str) -> list[bytes]:
        """The names of a hash's fields."""
        return cast(list[bytes], await self._call(lambda client: client.hkeys(key)))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _call(self, call: Callable[[Redis | RedisCluster], Awaitable[Result] | Result]) -> Result:
        client = await self._connected()
        if isinstance(client, Redis):
            return await cast(Awaitable[Result], call(client))
        wait_s = _RETRY_FIRST_S
        for _ in range(_RETRIES):
            try:
                return await cast(Awaitable[Result], call(client))
            except _AWAY:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_MAX_S)
        try:
            return await cast(Awaitable[Result], call(client))
        except _NO_REDIS_ERROR as error:
            raise RedisConnectionError(f"the cluster is away: {error}") from error

    async def _connected(self) -> Redis | RedisCluster:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Redis | RedisCluster:
        single = Redis.from_url(
            self._url,
            connection_class=_Connection,  # a URL of another kind brings its own
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(ExponentialBackoff(cap=_RETRY_MAX_S, base=_RETRY_FIRST_S), _RETRIES),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            health_check_interval=5,
        )
        try:
            about = await single.info("cluster")
        except (NoPermissionError, AuthorizationError):
            return single  # INFO is kept from us: who runs a cluster lets its clients see that it is one
        except BaseException:
            await single.aclose()
            raise
        if not about.get("cluster_enabled"):
            return single
        await single.aclose()
        return RedisCluster.from_url(
            self._url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            retry=Retry(ExponentialBackoff(cap=_RETRY_MAX_S, base=_RETRY_FIRST_S), 1),
            health_check_interval=5,
        )


__all__ = ["Database", "RedisError", "Script"]


def connect(url: str) -> Database:
    """A client of the server or cluster at `url`; nothing is sent before its first call."""
    return Database(url)
