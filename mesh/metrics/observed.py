"""A process that measures itself and serves its admin port, from before it starts until it has gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from mesh import telemetry
from mesh.config import ServiceConfig
from mesh.health.readiness import Readiness
from mesh.http2.server import Http2Server
from mesh.listener import Http2Listener, Listener
from mesh.metrics import declarations
from mesh.metrics.admin import AdminReply, AdminServer, Route
from mesh.metrics.cached import Cached
from mesh.metrics.exposition import Exposition
from mesh.metrics.process import ProcessWatch
from mesh.metrics.registry import MetricRegistry

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def observed(
    config: ServiceConfig, registry: MetricRegistry, readiness: Readiness, listener: Listener
) -> AsyncIterator[None]:
    """While the body runs. Raises OSError when the admin port cannot be had."""
    registry.value(declarations.READY, lambda: float(readiness.is_ready))
    collect_calls(registry, listener)
    async with telling(config.admin, registry, readiness):
        yield


@contextlib.asynccontextmanager
async def telling(
    address: str | None,
    registry: MetricRegistry,
    readiness: Readiness,
    more: Mapping[str, Route] | None = None,
) -> AsyncIterator[None]:
    """As `observed`, for a process that serves no calls. `more`: pages of its own."""
    measuring, admin = ProcessWatch(registry), AdminServer({**pages(registry, readiness), **(more or {})})
    registry.value(declarations.ADMIN_CUT_OFF, lambda: admin.cut_off)
    measuring.start()
    try:
        if address is not None:
            await admin.start(address)
            log.info("tells of itself on %s: /metrics, /livez, /readyz, /spans", address)
        yield
    finally:
        admin.stop()
        measuring.stop()


def pages(registry: MetricRegistry, readiness: Readiness) -> dict[str, Route]:
    exposition = Exposition(registry)

    async def livez() -> AdminReply:
        return AdminReply(*readiness.livez())

    async def readyz() -> AdminReply:
        return AdminReply(*readiness.readyz(asyncio.get_running_loop().time()))

    async def recent() -> bytes:
        return telemetry.recent_spans()

    rendered = Cached(recent)

    async def spans() -> AdminReply:
        return AdminReply(200, await rendered.get())

    return {"/metrics": exposition.page, "/livez": livez, "/readyz": readyz, "/spans": spans}


def collect_calls(registry: MetricRegistry, listener: Listener) -> None:
    rpc = listener.rpc
    registry.value(declarations.RPC_OPENED, rpc.opened_by_method)
    registry.value(declarations.RPC_ENDED, rpc.ended_by_code)
    registry.histogram(declarations.RPC_SECONDS, rpc.seconds_by_method)
    if not isinstance(listener, Http2Listener):
        return

    def number(name: str) -> float | None:
        server: Http2Server | None = listener.server
        return None if server is None else float(getattr(server, name))

    def terminations() -> dict[tuple[str, ...], float]:
        server = listener.server
        found = {} if server is None else dict(server.terminations.items())
        return {(key.scope.value, key.code, key.cause.value): count for key, count in found.items()}

    registry.value(declarations.HTTP2_CONNECTIONS, lambda: number("connections"))
    registry.value(declarations.HTTP2_STREAMS, lambda: number("streams"))
    registry.value(declarations.HTTP2_RECEIVED, lambda: number("bytes_received"))
    registry.value(declarations.HTTP2_SENT, lambda: number("bytes_sent"))
    registry.value(declarations.HTTP2_TERMINATIONS, terminations)
