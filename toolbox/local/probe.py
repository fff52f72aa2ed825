"""Asks a process whether it is ready: one short conversation on loopback, SILENT when it fails.

Every probe ends within `TIMEOUT_S` and opens a connection of its own: a connection kept open would answer
for a process that no longer accepts any.
"""

from __future__ import annotations

import asyncio
import json

from toolbox.local import grpc_health
from toolbox.local.lifecycle import Answer
from toolbox.local.spec import EnvoyProbe, GrpcProbe, HttpProbe, Probe, RedisProbe, RunningProbe

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


async def ask(probe: Probe) -> Answer:
    """Never raises for what the peer does."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(probe)
    except _NO_ANSWER:
        return Answer.SILENT


async def _ask(probe: Probe) -> Answer:
    match probe:
        case RunningProbe():
            return Answer.SERVING
        case GrpcProbe(port, services):
            return await _grpc(port, services)
        case HttpProbe(port, path):
            status, _ = await _get(port, path)
            return Answer.SERVING if status == 200 else Answer.ALIVE
        case RedisProbe(port):
            return await _redis(port)
        case EnvoyProbe(port, clusters):
            return await _envoy(port, clusters)


async def _grpc(port: int, services: tuple[str, ...]) -> Answer:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(grpc_health.request(f"{HOST}:{port}", services))
        reply = grpc_health.Reply(services)
        while not reply.done:
            data = await reader.read(16_384)
            if not data:
                return Answer.SILENT
            writer.write(reply.feed(data))
        return Answer.SERVING if reply.serving else Answer.ALIVE
    finally:
        writer.close()


async def _redis(port: int) -> Answer:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"*1\r\n$4\r\nPING\r\n")
        line = await reader.readline()
        if line == b"+PONG\r\n":
            return Answer.SERVING
        return Answer.ALIVE if line.startswith((b"-LOADING", b"-NOAUTH")) else Answer.SILENT
    finally:
        writer.close()


async def _envoy(port: int, clusters: tuple[str, ...]) -> Answer:
    status, _ = await _get(port, "/ready")
    if status != 200:
        return Answer.ALIVE
    _, body = await _get(port, "/clusters?format=json")
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


async def _get(port: int, path: str) -> tuple[int, bytes]:
    """(status, body) of a GET. Raises ValueError for what is no HTTP."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" not in head:
            return status, await reader.read(HTTP_BODY_BYTES_MAX)
        body = b""
        while len(body) < HTTP_BODY_BYTES_MAX and (size := int((await reader.readline()).split(b";")[0], 16)):
            body += await reader.readexactly(min(size, HTTP_BODY_BYTES_MAX))
            await reader.readline()
        return status, body
    finally:
        writer.close()
