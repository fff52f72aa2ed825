"""Looks at NATS and Redis, our own or somebody else's: whether they can be used, and how they are set."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from dataclasses import replace
from typing import Any

from mesh.jetstream import subjects
from mesh.jetstream.client import NatsClient, inbox_prefix
from mesh.secrecy import without_login
from toolbox.doctor.facts import NatsFacts, RedisFacts, StreamFact
from toolbox.local import nats_check, redis_check
from toolbox.local.errors import MeshError

WITHIN_S = 4.0
"""Of each store, beyond what the checks of `up` allow themselves."""


def nats_facts(urls: str) -> NatsFacts:
    at = ", ".join(without_login(url.strip()) for url in urls.split(","))
    try:
        found = nats_check.check_url(urls, production=False)
    except MeshError as error:
        return NatsFacts(at, problem=str(error))
    try:
        return asyncio.run(_nats(at, urls, found.version, found.warning))
    except (OSError, TimeoutError, ValueError) as error:
        return NatsFacts(
            at, found.version, problem=str(error) or f"JetStream did not answer within {WITHIN_S:g} s"
        )


async def _nats(at: str, urls: str, version: str, warning: str) -> NatsFacts:
    from nats.errors import Error as NatsError

    client = NatsClient()

    async def on_error(_: Exception) -> None:
        """It is told by what fails then."""

    servers = [url.strip() for url in urls.split(",")]
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.connect(
                servers, error_cb=on_error, allow_reconnect=False, inbox_prefix=inbox_prefix(servers[0])
            )
            began_s = time.monotonic()
            await client.flush()
            round_trip_s = time.monotonic() - began_s
            events, offset_s = _stream(await _api(client, f"STREAM.INFO.{subjects.EVENTS_STREAM}"))
            letters = await _api(client, f"STREAM.INFO.{subjects.DEAD_LETTERS_STREAM}")
            return NatsFacts(
                at,
                version,
                warning=warning,
                round_trip_s=round_trip_s,
                max_payload_bytes=int(client.max_payload),
                clock_offset_s=offset_s,
                events=events,
                dead_letters=int(letters.get("state", {}).get("messages", 0)),
            )
    except NatsError as error:
        return NatsFacts(at, version, problem=str(error) or type(error).__name__)
    finally:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await client.close()


async def _api(client: NatsClient, request: str) -> dict[str, Any]:
    """Of JetStream; what it refuses, such as a stream that is not there, has no state."""
    reply = await client.request(f"$JS.API.{request}", b"", timeout=WITHIN_S)
    found: dict[str, Any] = json.loads(reply.data)
    return found


def _stream(info: dict[str, Any]) -> tuple[StreamFact | None, float | None]:
    """And how far this machine's clock is ahead of the server's."""
    offset_s = None
    if at := info.get("ts"):
        with contextlib.suppress(ValueError):
            offset_s = time.time() - datetime.datetime.fromisoformat(_microseconds(at)).timestamp()
    if "config" not in info:
        return None, offset_s
    config, state = info["config"], info["state"]
    stream = StreamFact(
        used_bytes=int(state["bytes"]),
        max_bytes=max(0, int(config.get("max_bytes", 0))),
        replicas=int(config.get("num_replicas", 1)),
        is_on_disk=config.get("storage") == "file",
        drops_old=config.get("discard") == "old",
    )
    return stream, offset_s


def _microseconds(timestamp: str) -> str:
    """NATS writes nanoseconds, or fewer digits, which datetime does not read."""
    seconds, _, rest = timestamp.partition(".")
    fraction = rest.rstrip("Z")
    return f"{seconds.rstrip('Z')}.{fraction[:6].ljust(6, '0')}+00:00"


def redis_facts(url: str) -> RedisFacts:
    """What is slow is not away: of a server that answered once that much is known."""
    at = without_login(url)
    found = RedisFacts(at)
    try:
        found = asyncio.run(_redis(found, url))
        return replace(found, warning=redis_check.check_url(url, production=False).warning)
    except MeshError as error:
        return found if found.round_trip_s is not None else replace(found, problem=str(error))


async def _redis(facts: RedisFacts, url: str) -> RedisFacts:
    """As far as it answers."""
    from redis.exceptions import RedisError

    from mesh.redis import address, connections

    try:
        client = connections.single(address.parse(url))
    except address.BadAddress as error:
        raise MeshError(f"--redis: {error}") from None
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.ping()
            began_s = time.monotonic()
            await client.ping()
            facts = replace(facts, round_trip_s=time.monotonic() - began_s)
            said: dict[str, Any] = await client.info()
    except (RedisError, OSError, TimeoutError):
        return facts
    finally:
        await client.aclose()
    failed = [
        f"its last {what} failed ({key})"
        for key, what in (
            ("aof_last_write_status", "write to the log"),
            ("rdb_last_bgsave_status", "snapshot"),
        )
        if said.get(key, "ok") != "ok"
    ]
    return replace(
        facts,
        used_bytes=int(said.get("used_memory", 0)),
        max_bytes=int(said.get("maxmemory", 0)),
        write_problem="; ".join(failed),
    )
