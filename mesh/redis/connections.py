"""Makes redis-py's clients from an address, and drops their connections."""

from __future__ import annotations

from typing import Any

import hiredis
from redis.asyncio import Connection, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import AuthorizationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from mesh.redis.address import Address
from mesh.redis.failover import parse_info

TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0
_HEALTH_CHECK_S = 5


class Piped(Connection):
    """Packs commands by hiredis: a flush of a thousand games has ten thousand arguments, and redis-py
    joins them one by one. What mesh.redis.pipeline needs beside: to write without waiting for the answer,
    and to read without a timer for each."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # Redis wants a command's words as arguments, such as those of CONFIG GET.
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    @property
    def is_to_be_replaced(self) -> bool:
        """The pool has marked it for reconnect."""
        return self._should_reconnect

    def write_soon(self, commands: list[bytes]) -> None:
        """Packed ones. Raises nothing: who reads is told that the connection failed."""
        if self._writer is not None:
            self._writer.writelines(commands)

    async def read_one(self) -> Any:
        """The next answer, waited for without end; an error as it is. Raises RedisError, OSError."""
        return await self._read_response_from_parser()

    def abort(self) -> None:
        """Closes at once; who reads is told."""
        if self._writer is not None:
            self._writer.transport.abort()


class _OfSentinel(SentinelManagedConnection, Piped):
    async def connect(self) -> None:
        try:
            # Once: the whole call is repeated by mesh.redis.database.
            await self._connect_retry()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            pool = self.connection_pool
            asked = (each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels)
            hosts = ", ".join(f"{each['host']}:{each['port']}" for each in asked)
            raise RedisConnectionError(
                f"no Sentinel answers that names a master of {pool.service_name!r} that is up: {hosts}"
            ) from None


class _OfSentinelTls(_OfSentinel, SSLConnection):
    pass


def _options() -> dict[str, Any]:
    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),  # mesh.redis.database repeats the whole call
        "health_check_interval": _HEALTH_CHECK_S,
    }


def single(address: Address) -> Redis:
    """A client of one server: the one at the address, or the master that the Sentinels name."""
    if not address.sentinels:
        # A URL of another kind brings its own class of connections.
        return Redis.from_url(address.url, connection_class=Piped, **_options())
    given: dict[str, Any] = dict(parse_url(address.url))
    for name in ("host", "port", "connection_class"):
        given.pop(name, None)
    tls = {name: value for name, value in given.items() if name.startswith("ssl_")}
    sentinels = Sentinel(
        address.sentinels,
        sentinel_kwargs={
            **_options(),
            "socket_timeout": CONNECT_TIMEOUT_S,
            **address.sentinel_login,
            **({"ssl": True, **tls} if address.is_tls else {}),
        },
    )
    pool = SentinelConnectionPool(
        address.service,
        sentinels,
        connection_class=_OfSentinelTls if address.is_tls else _OfSentinel,
        **_options(),
        **given,
    )
    return Redis.from_pool(pool)


def cluster(address: Address) -> RedisCluster:
    options = {**_options(), "retry": Retry(NoBackoff(), 1)}
    return RedisCluster.from_url(address.url, **options)


async def drop(client: Redis) -> None:
    """Idle connections are closed, those in use once they are idle. Whatever is asked next resolves the
    address again."""
    pool = client.connection_pool
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)


async def about(client: Redis, *, resolved: bool) -> dict[str, str]:
    """What the server says of its replication; `resolved`: the one that the address leads to now. Nothing if
    the server keeps it from us. Raises RedisError."""
    pool = client.connection_pool
    connection = pool.make_connection() if resolved else await pool.get_connection()
    try:
        await connection.connect()
        await connection.send_command("INFO", "replication")
        answer = await connection.read_response()
    except (NoPermissionError, AuthorizationError):
        return {}
    finally:
        if resolved:
            await connection.disconnect()
        else:
            await pool.release(connection)
    return parse_info(answer.decode() if isinstance(answer, bytes) else str(answer))
