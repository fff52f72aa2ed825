"""How a service's port answers: on grpc.aio, or on our own HTTP/2 engine where the hot path is.

Both serve `grpc.health.v1.Health` beside the service: SERVING between `serving` and `stop`. Both listen on
TCP or a Unix socket, with TLS or without, and take a certificate that is renewed without a restart. What the
engine refused or ended is told in the log, a line each REPORT_S in which there was any.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from mesh import telemetry
from mesh.http2.call import Accept, Page
from mesh.http2.health import Health
from mesh.http2.server import Http2Server
from mesh.http2.sockets import is_unix, unix_path, vacate
from mesh.http2.tls import Tls, TlsFiles
from mesh.late_requests import LateRequests
from mesh.metrics.grpc_calls import CountCalls
from mesh.metrics.rpc_counts import RpcCounts

log = logging.getLogger(__name__)

REPORT_S = 60.0

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# Envoy multiplexes thousands of calls over few connections and pings them while idle.
_SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 100_000),
    # Above 1,000 calls that wait to be accepted grpc drops new ones at random, and all above 3,000:
    # when an Envoy or a gateway comes back, thousands of streams come at once.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_metadata_size", 16 * 1024),
)


class Listener(Protocol):
    """A port."""

    rpc: RpcCounts

    async def start(self, address: str) -> None:
        """Listens on host:port or unix:/path, and says that it serves. Raises OSError."""
        ...

    async def set_ready(self, is_ready: bool) -> None:
        """Says whether it serves, from now on or from `start` on; until `stop`."""
        ...

    async def set_part(self, name: str, is_ok: bool) -> None:
        """What gRPC health says of a part of the process, such as a dependency; only if it is asked for."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Says that it does not serve, takes no new call, and ends the others after `grace_s`."""
        ...


class GrpcListener:
    """On grpc.aio; `server` takes the servicers before `start`. `services`: their full names."""

    def __init__(self, services: Sequence[str], message_bytes_max: int, tls: TlsFiles | None = None) -> None:
        self._tls = tls
        self.rpc = RpcCounts()
        self.server = grpc.aio.server(
            interceptors=[LateRequests(), *telemetry.server_interceptors(), CountCalls(self.rpc)],
            options=[*_SERVER_OPTIONS, ("grpc.max_receive_message_length", message_bytes_max)],
        )
        self._names = ["", *services]
        self._is_ready = True
        self._is_started = False
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    async def start(self, address: str) -> None:
        for name in self._names:
            await self._health.set(name, _NOT_SERVING)
        # A socket file is its user's alone.
        umask = os.umask(0o177)
        try:
            if is_unix(address):
                # grpc itself would take the place of one that listens.
                vacate(unix_path(address))
            # A port that is taken raises RuntimeError here.
            if self._tls is None:
                self.server.add_insecure_port(address)
            else:
                self.server.add_secure_port(address, _credentials(self._tls))
        except (RuntimeError, ValueError, OSError) as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        finally:
            os.umask(umask)
        await self.server.start()
        self._is_started = True
        await self.set_ready(self._is_ready)

    async def set_ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready
        if self._is_started:
            for name in self._names:
                await self._health.set(name, _SERVING if is_ready else _NOT_SERVING)

    async def set_part(self, name: str, is_ok: bool) -> None:
        await self._health.set(name, _SERVING if is_ok else _NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_s)


class Http2Listener:
    """On mesh.http2; `methods` and `pages` take what answers each path before `start`."""

    def __init__(self, services: Sequence[str], message_bytes_max: int, tls: TlsFiles | None = None) -> None:
        self._tls = tls
        self.rpc = RpcCounts()
        self.rpc.is_traced = telemetry.has_collector()
        self.methods: dict[str, Accept] = {}
        self.pages: dict[str, Callable[[], Page]] = {}
        self._names = ["", *services]
        self._message_bytes_max = message_bytes_max
        self._is_ready = True
        self._is_stopping = False
        self._health = Health()
        self._server: Http2Server | None = None
        self._reporting: asyncio.TimerHandle | None = None

    async def start(self, address: str) -> None:
        methods = {**self.methods, **self._health.methods()}
        self._server = Http2Server(
            methods,
            message_bytes_max=self._message_bytes_max,
            tls=self._tls,
            pages=self.pages,
            rpc=self.rpc,
        )
        await self._server.start(address)
        await self.set_ready(self._is_ready)
        self._report(self._server)

    async def set_ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready
        if self._server is not None and not self._is_stopping:
            for name in self._names:
                self._health.set(name, is_ready)

    async def set_part(self, name: str, is_ok: bool) -> None:
        if not self._is_stopping:
            self._health.set(name, is_ok)

    @property
    def server(self) -> Http2Server | None:
        """None before `start`."""
        return self._server

    def _report(self, server: Http2Server) -> None:
        """What a person who looks after this process should know of its clients."""
        loop = asyncio.get_running_loop()
        self._reporting = loop.call_later(REPORT_S, self._report, server)
        news = server.terminations.news()
        if news:
            log.info("ended or refused since the last such line: %s", news)

    async def stop(self, grace_s: float) -> None:
        self._is_stopping = True
        self._health.all_not_serving()
        if self._server is not None:
            try:
                await self._server.close(grace_s)
            finally:
                if self._reporting is not None:
                    self._report(self._server)
                    self._reporting.cancel()


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Asked for each new connection, from a thread of grpc's. Raises OSError."""
    tls = Tls(files)
    known = tls.context()

    def now() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(files.key.read_bytes(), files.certificate.read_bytes())],
            files.client_ca.read_bytes() if files.client_ca else None,
        )

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        found = tls.context()
        if found is known:
            return None
        known = found
        return now()

    # Its types know no None, which its documentation does.
    fetcher = cast(Callable[[], grpc.ServerCertificateConfiguration], changed)
    return grpc.dynamic_ssl_server_credentials(now(), fetcher, files.client_ca is not None)
