"""How a service process lives: serve, be healthy, drain, go.

`run` owns the process: it parses nothing and decides nothing about the service, which
hands it an async context manager that registers its servicers and starts its loops.
Health says SERVING only once that is done, and NOT_SERVING from the first SIGTERM or
SIGINT on, so that Envoy and the supervisor stop sending before the streams are drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from mesh import limits, telemetry
from mesh.config import ServiceConfig
from mesh.errors import GrandstandError

log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# Envoy multiplexes thousands of calls over few connections and pings them while idle.
_SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 100_000),
    # Above 1,000 calls that wait to be accepted grpc drops new ones at random, and all above 3,000:
    # when an Envoy or an ingest comes back, thousands of streams come at once.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_metadata_size", 16 * 1024),
)


class Runtime:
    """What a service sees of its process."""

    def __init__(self, config: ServiceConfig, server: grpc.aio.Server) -> None:
        self.config = config
        self.server = server
        self.draining = asyncio.Event()


Start = Callable[[Runtime], AbstractAsyncContextManager[None]]


def run(config: ServiceConfig, start: Start, services: Sequence[str], message_bytes_max: int) -> None:
    """Serves until a signal; exits the process with 1 and one line when it cannot start."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    for chatty in ("nats", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    telemetry.start(config)
    try:
        asyncio.run(_serve(config, start, services, message_bytes_max))
    except OSError as error:
        sys.exit(f"{config.instance}: {error}")
    finally:
        telemetry.stop()


async def _serve(
    config: ServiceConfig, start: Start, services: Sequence[str], message_bytes_max: int
) -> None:
    server = grpc.aio.server(
        interceptors=telemetry.server_interceptors(),
        options=[*_SERVER_OPTIONS, ("grpc.max_receive_message_length", message_bytes_max)],
    )
    runtime = Runtime(config, server)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.draining.set)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = ["", *services]
    for name in names:
        await health.set(name, _NOT_SERVING)
    starting = asyncio.create_task(_enter(start(runtime)))
    await asyncio.wait(
        {starting, asyncio.create_task(runtime.draining.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    if not starting.done():
        starting.cancel()
        return
    service = starting.result()
    try:
        # A port that is taken raises RuntimeError here.
        try:
            server.add_insecure_port(config.listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {config.listen}: {error}") from None
        await server.start()
        for name in names:
            await health.set(name, _SERVING)
        log.info("%s serves on %s", config.instance, config.listen)
        # What lives now lives long: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        await runtime.draining.wait()
        log.info("%s drains", config.instance)
        await health.enter_graceful_shutdown()
        await server.stop(limits.DRAIN_GRACE_S)
    finally:
        await service.aclose()


async def _enter(manager: AbstractAsyncContextManager[None]) -> contextlib.AsyncExitStack:
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(manager)
    return stack


@contextlib.asynccontextmanager
async def answering(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """Turns a domain error of its body into the call's gRPC status."""
    try:
        yield
    except GrandstandError as error:
        await context.abort(_CODES[error.code], error.message)
