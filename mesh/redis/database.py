"""Redis, one server or a cluster, behind one narrow client: scripts, and reads of single keys.

Which of the two it is, the server itself is asked at the first call; so a process starts
before its Redis does, and a URL of any node of a cluster is enough. All keys of one call
share a hash tag (see aggregate.partition_store), so a script runs on one node of a cluster too.

A call is tried again for about a second, on a cluster also while a slot moves or its master
is away; a script may therefore run twice and must say for itself what a second run means.
Between the tries, and whenever the server turns out to be another one (see mesh.redis.failover), connections
are dropped and the address is resolved again: a failover need not close what is open.

Rejected: transactions (they cannot check a lease), and functions (each node of a cluster
must be loaded with them; a script brings itself).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
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

from grandstand.wire.tasks import end
from mesh import telemetry
from mesh.redis import connections
from mesh.redis.address import parse
from mesh.redis.failover import Look, ServerWatch, says_replaced
from mesh.redis.pipeline import Pipeline

log = logging.getLogger(__name__)

Argument = str | bytes | int
Result = TypeVar("Result")

CALLS_MAX = 64
"""Fewer than the connections that redis-py opens (100): beyond those it raises."""
_RETRY_FIRST_S = 0.02
_RETRY_MAX_S = 0.2
_RETRY_FOR_S = 1.0
_SAID_EVERY_S = 5.0
# Of a cluster: RedisClusterException is no RedisError. AttributeError: redis-py 8.1 closes connections under
# the calls that use them when it learns again which node has which slots.
_ODD = (RedisClusterException, AttributeError)
_AWAY = (RedisConnectionError, RedisTimeoutError, ClusterDownError, TryAgainError)


class Script:
    """A Lua script and the name Redis knows it by."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Database:
    """All methods raise RedisError. Bound: `calls_max` calls under way; further ones wait in their order."""

    def __init__(self, url: str, calls_max: int = CALLS_MAX) -> None:
        """Raises BadAddress."""
        self._address = parse(url)
        self._slots = asyncio.Semaphore(calls_max)
        self._pipeline: Pipeline | None = None
        self._client: Redis | RedisCluster | None = None
        self._connecting = asyncio.Lock()
        self._watch = ServerWatch()
        self._look: asyncio.Task[None] | None = None
        self._said_s = float("-inf")

    async def is_cluster(self) -> bool:
        return isinstance(await self._connected(), RedisCluster)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        """Runs the script where the keys are; all of them have one hash tag."""
        count, given = len(keys), (*keys, *arguments)

        async def call(client: Redis | RedisCluster) -> Any:
            async with self._slots:
                try:
                    if isinstance(client, Redis):
                        return await self._piped(client, "EVALSHA", script.sha, count, *given)
                    return await client.evalsha(script.sha, count, *given)
                except NoScriptError:
                    if isinstance(client, Redis):
                        return await self._piped(client, "EVAL", script.source, count, *given)
                    return await client.eval(script.source, count, *given)

        return await self._tried(call)

    async def _piped(self, client: Redis, *command: Argument) -> Any:
        if self._pipeline is None:
            self._pipeline = Pipeline(client)
        words: tuple[Any, ...] = command
        return await self._pipeline.run(pack_command(words))

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """The fields of a hash; none if there is no such key."""
        return cast(dict[bytes, bytes], await self._call(lambda client: client.hgetall(key)))

    async def string(self, key: str) -> bytes:
        """The value of a key; b"" if there is no such key."""
        return cast(bytes | None, await self._call(lambda client: client.get(key))) or b""

    async def strings(self, keys: Sequence[str]) -> list[bytes]:
        """As `string`, of keys that need not have one hash tag: in one call, but for a cluster."""
        if await self.is_cluster():
            return list(await asyncio.gather(*map(self.string, keys)))

        async def call(client: Redis | RedisCluster) -> list[bytes | None]:
            return cast(list[bytes | None], await client.mget(keys))

        values: list[bytes | None] = await self._call(call)
        return [value or b"" for value in values]

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
        if self._look is not None:
            await end(self._look)
        if self._pipeline is not None:
            await self._pipeline.aclose()
        if self._client is not None:
            await self._client.aclose()

    async def _call(self, call: Callable[[Redis | RedisCluster], Awaitable[Result] | Result]) -> Result:
        async def held(client: Redis | RedisCluster) -> Result:
            async with self._slots:
                return await cast(Awaitable[Result], call(client))

        return await self._tried(held)

    async def _tried(self, call: Callable[[Redis | RedisCluster], Awaitable[Result]]) -> Result:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + _RETRY_FOR_S
        wait_s = _RETRY_FIRST_S
        while True:
            try:
                client = await self._connected()
                self._look_soon(client)
                return await call(client)
            except Exception as error:
                replaced = says_replaced(error)
                is_cluster = isinstance(self._client, RedisCluster)
                if not (replaced or isinstance(error, _AWAY) or (is_cluster and isinstance(error, _ODD))):
                    raise
                if replaced:
                    await self._drop(str(error))
                if loop.time() + wait_s > give_up_s:
                    if isinstance(error, RedisClusterException):
                        await self._forget()
                    if isinstance(error, _ODD):
                        raise RedisConnectionError(f"the cluster is away: {error}") from error
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _RETRY_MAX_S)

    def _look_soon(self, client: Redis | RedisCluster) -> None:
        """Beside the calls, which wait for nothing. A cluster's client is told by the nodes."""
        if isinstance(client, RedisCluster) or (self._look is not None and not self._look.done()):
            return
        look = self._watch.due(asyncio.get_running_loop().time())
        if look is not Look.NONE:
            with telemetry.detached():
                self._look = asyncio.create_task(self._look_at(client, look))

    async def _look_at(self, client: Redis, look: Look) -> None:
        with contextlib.suppress(RedisError, OSError):  # the calls fail too
            about = await connections.about(client, resolved=look is Look.RESOLVED)
            why = self._watch.heard(about) if about else ""
            if why:
                await self._drop(why)

    async def _drop(self, why: str) -> None:
        """The connections; what is asked next resolves the address again."""
        now_s = asyncio.get_running_loop().time()
        if now_s > self._said_s + _SAID_EVERY_S:
            self._said_s = now_s
            log.warning("Redis: %s; its connections are dropped and its address is looked up again", why)
        if isinstance(self._client, Redis):
            with contextlib.suppress(RedisError, OSError):
                await connections.drop(self._client)

    async def _forget(self) -> None:
        """A cluster of which no known node answers: the next call begins at the address again."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, OSError, *_ODD):
                await client.aclose()

    async def _connected(self) -> Redis | RedisCluster:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Redis | RedisCluster:
        single = connections.single(self._address)
        if self._address.sentinels:
            return single
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
        return connections.cluster(self._address)


__all__ = ["Database", "RedisError", "Script"]


def connect(url: str, calls_max: int = CALLS_MAX) -> Database:
    """A client of the Redis at `url` (see mesh.redis.address), with connections of its own; nothing is sent
    before its first call. Raises BadAddress."""
    return Database(url, calls_max)
