"""Asks a process whether it is ready: one short conversation on loopback, SILENT when it fails.

Of our own stores a round trip is asked for: NATS must store a message, Valkey must take and return a key
(`toolbox.local.store_probe`). A server that merely answers has proven nothing.

Every probe ends within `TIMEOUT_S` and opens a connection of its own: a connection kept open would answer
for a process that no longer accepts any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from toolbox.local import grpc_health, store_probe
from toolbox.local.lifecycle import Answer
from toolbox.local.spec import (
    EnvoyProbe,
    GrpcProbe,
    HttpProbe,
    NatsProbe,
    Probe,
    RedisProbe,
    RunningProbe,
)
from toolbox.local.store_probe import ProbeAnswer
from toolbox.local.store_users import monitor_path

TIMEOUT_S = 5.0
HOST = "127.0.0.1"
HTTP_BODY_BYTES_MAX = 4 * 1024 * 1024

_NO_ANSWER = (
    OSError,
    TimeoutError,
    EOFError,
    ValueError,
    LookupError,
    asyncio.LimitOverrunError,
    grpc_health.NotHealth,
)


async def ask(probe: Probe) -> ProbeAnswer:
    """Never raises for what the peer does."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(probe)
    except _NO_ANSWER:
        return ProbeAnswer(Answer.SILENT)


async def _ask(probe: Probe) -> ProbeAnswer:
    match probe:
        case RunningProbe():
            return ProbeAnswer(Answer.SERVING)
        case GrpcProbe(port, services):
            return ProbeAnswer(await _grpc(port, services))
        case HttpProbe(port, path):
            status, _ = await get(port, path)
            return ProbeAnswer(Answer.SERVING if status == 200 else Answer.ALIVE)
        case NatsProbe(port, monitor_port, password):
            status, body = await get(monitor_port, f"{monitor_path(password)}/healthz")
            if status != 200:
                return store_probe.unhealthy_nats(body)
            async with _connection(port) as (reader, writer):
                return await store_probe.nats(reader, writer, password)
        case RedisProbe(port, password):
            async with _connection(port) as (reader, writer):
                return await store_probe.valkey(reader, writer, password)
        case EnvoyProbe(admin, clusters):
            return ProbeAnswer(await _envoy(admin, clusters))


@contextlib.asynccontextmanager
async def _connection(at: int | Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """To a port, or to a Unix socket."""
    if isinstance(at, Path):
        reader, writer = await asyncio.open_unix_connection(at)
    else:
        reader, writer = await asyncio.open_connection(HOST, at)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _grpc(port: int, services: tuple[str, ...]) -> Answer:
    async with _connection(port) as (reader, writer):
        writer.write(grpc_health.request(f"{HOST}:{port}", services))
        reply = grpc_health.Reply(services)
        while not reply.done:
            data = await reader.read(16_384)
            if not data:
                return Answer.SILENT
            writer.write(reply.feed(data))
        return Answer.SERVING if reply.serving else Answer.ALIVE


async def _envoy(admin: Path, clusters: tuple[str, ...]) -> Answer:
    status, _ = await get(admin, "/ready")
    if status != 200:
        return Answer.ALIVE
    _, body = await get(admin, "/clusters?format=json")
    return Answer.SERVING if healthy_clusters(body).issuperset(clusters) else Answer.ALIVE


def healthy_clusters(clusters: bytes) -> set[str]:
    """From Envoy's /clusters?format=json: those with a host that no health check has failed."""
    return {
        cluster["name"]
        for cluster in json.loads(clusters)["cluster_statuses"]
        if any(
            host["health_status"].get("eds_health_status", "HEALTHY") == "HEALTHY"
            and not host["health_status"].get("failed_active_health_check", False)
            for host in cluster.get("host_statuses", ())
        )
    }


async def get(at: int | Path, path: str) -> tuple[int, bytes]:
    """(status, body) of a GET. Raises ValueError for what is no HTTP."""
    async with _connection(at) as (reader, writer):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" not in head:
            return status, await reader.read(HTTP_BODY_BYTES_MAX)
        body = b""
        while len(body) < HTTP_BODY_BYTES_MAX and (size := int((await reader.readline()).split(b";")[0], 16)):
            body += await reader.readexactly(min(size, HTTP_BODY_BYTES_MAX))
            await reader.readline()
        return status, body
