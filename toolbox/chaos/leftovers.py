"""What is left of games that are forgotten: a scan of all of Redis and of the catalog's bucket.

Bound: reads every key of the partitions once; for test meshes.
"""

from __future__ import annotations

import contextlib

from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus


async def in_redis(redis: Redis, prefix: str) -> list[str]:
    """Where a game whose id begins with `prefix` is still named: keys, and what is in them. Raises
    RedisError."""
    keys = [key async for key in redis.scan_iter(count=1_000)]
    named = [repr(key) for key in keys if prefix in repr(key) + await _content(redis, key)]
    return sorted(named)


async def _content(redis: Redis, key: bytes) -> str:
    match await redis.type(key):
        case b"hash":
            return repr(await redis.hgetall(key))
        case b"zset":
            return repr(await redis.zrange(key, 0, -1))
        case b"string":
            return repr(await redis.get(key))
    return ""


async def in_catalog(bus: Bus, prefix: str) -> list[str]:
    """The keys of such games in the bucket; a marker of what was deleted is none. Raises NatsError."""
    bucket = f"$KV.{subjects.CATALOG_BUCKET}."
    info = await bus.js.stream_info(subjects.CATALOG_STREAM, subjects_filter=f"{bucket}>")
    found = []
    for subject in sorted(info.state.subjects or {}):
        key = subject.removeprefix(bucket)
        if key.partition(".")[2].startswith(prefix):
            with contextlib.suppress(NotFoundError):
                if (await bus.js.get_last_msg(subjects.CATALOG_STREAM, subject)).data:
                    found.append(key)
    return found
