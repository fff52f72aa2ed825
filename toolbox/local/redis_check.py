"""Whether the Redis that --redis names can be used, and keeps what it is given. Asked once, at the start.

One that cannot be used ends the start with the reason. One that evicts keys, or that keeps nothing on disk,
is warned about and refused with --production: what is lost is rebuilt from the event stream (I4), but until
then results are missing. What a server does not tell (managed ones refuse CONFIG) is not objected to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from toolbox.local.errors import MeshError, tls_or_socket_reason

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

ANSWER_WITHIN_S = 2.5
SAFE_POLICY = "noeviction"


@dataclass(frozen=True, slots=True)
class RedisFound:
    """`warning`: one line, or empty, as it is for our own Valkey (`toolbox.local.stores`)."""

    warning: str = ""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a server says of how it keeps keys; "" and None: it does not say."""

    policy: str = ""
    persists: bool | None = None


def check_url(url: str, production: bool) -> RedisFound:
    """Raises MeshError."""
    from redis.exceptions import RedisClusterException, RedisError

    from mesh.redis.address import BadAddress

    try:
        why = objection(f"Redis at {_shown(url)}", asyncio.run(_within(url)))
    except BadAddress as error:
        raise MeshError(f"--redis: {error}") from None
    except (RedisError, RedisClusterException, OSError, ValueError) as error:
        raise MeshError(f"Redis at {_shown(url)}: {_reason(error)}") from None
    if why and production:
        raise MeshError(f"--production: {why}")
    return RedisFound(why)


def objection(server: str, found: Mapping[str, Keeping]) -> str:
    """One line about those of its nodes that lose keys; "" if none does. `found`: by the node's name."""
    said = []
    evicts = sorted({each.policy for each in found.values() if each.policy not in ("", SAFE_POLICY)})
    if evicts:
        said.append(
            f"evicts keys when its memory is full (maxmemory-policy {', '.join(evicts)});"
            f" set maxmemory-policy {SAFE_POLICY}"
        )
    if any(each.persists is False for each in found.values()):
        said.append('keeps nothing on disk (appendonly no, save ""); set appendonly yes')
    return f"{server} {', and '.join(said)}" if said else ""


async def _within(url: str) -> dict[str, Keeping]:
    async with asyncio.timeout(ANSWER_WITHIN_S):
        return await _ask(url)


async def _ask(url: str) -> dict[str, Keeping]:
    from mesh.redis import address, connections

    at = address.parse(url)
    client = connections.single(at)
    try:
        about = await client.info("server")
        if about.get("redis_mode") != "cluster":
            return {"": await _keeping(client)}
    finally:
        await client.aclose()
    nodes = connections.cluster(at)
    try:
        await nodes.initialize()
        return {node.name: await _keeping(nodes, target_nodes=node) for node in nodes.get_primaries()}
    finally:
        await nodes.aclose()


async def _keeping(client: Redis | RedisCluster, **node: Any) -> Keeping:
    memory: dict[str, Any] = await client.info("memory", **node)
    persistence: dict[str, Any] = await client.info("persistence", **node)
    persists = True if persistence.get("aof_enabled") else await _saves(client, **node)
    return Keeping(str(memory.get("maxmemory_policy", "")), persists)


async def _saves(client: Redis | RedisCluster, **node: Any) -> bool | None:
    from redis.exceptions import ResponseError

    try:
        found: dict[Any, Any] = await client.config_get("save", **node)
    except ResponseError:
        return None
    points = found.get("save", found.get(b"save"))
    return None if points is None else bool(points)


def _reason(error: Exception) -> str:
    from redis.exceptions import AuthenticationError
    from redis.exceptions import TimeoutError as RedisTimeout

    if isinstance(error, TimeoutError | RedisTimeout):
        return (
            f"nothing that speaks Redis answered within {ANSWER_WITHIN_S:g} s; look whether the host and the"
            " port are those of Redis, and whether it wants TLS (rediss://)"
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return tls_or_socket_reason(cause)
        cause = cause.__cause__ or cause.__context__
    text = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return f"it refuses the user or the password ({text}); see the URL's user:password@"
    if "Protocol error" in text:
        return "what answers there is not Redis"
    if "closed" in text.lower():
        return f"{text}; if it wants TLS, give rediss://"
    return text


def _shown(url: str) -> str:
    """Without the credentials it may carry."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else repr(url)
