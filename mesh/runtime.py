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
from typing import Any

import grpc

from grandstand.wire.errors import GrandstandError
from grandstand.wire.tasks import end_all_others
from mesh import limits, telemetry
from mesh.config import ServiceConfig
from mesh.health import readiness
from mesh.health.readiness import Readiness
from mesh.http2.call import Accept, Page
from mesh.http2.details import status as encoded_status
from mesh.listener import GrpcListener, Http2Listener, Listener
from mesh.logs import setup
from mesh.metrics.observed import observed
from mesh.metrics.registry import MetricRegistry

log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Runtime:
    """What a service sees of its process."""

    def __init__(self, config: ServiceConfig, listener: Listener) -> None:
        self.config = config
        self.listener = listener
        self.draining = asyncio.Event()
        self.metrics = MetricRegistry()
        """Takes what the service measures while it starts."""
        self.readiness = Readiness(config.service, config.instance)

    async def set_ready(self, is_ready: bool) -> None:
        """Whether gRPC health says SERVING while the process serves; Envoy calls others if not."""
        self.readiness.is_in_service = is_ready
        await self.listener.set_ready(is_ready)

    async def set_part(self, name: str, is_ok: bool) -> None:
        """What gRPC health says of a part of the process."""
        await self.listener.set_part(name, is_ok)

    @property
    def server(self) -> grpc.aio.Server:
        """Of a service on grpc.aio: takes its servicers while it starts."""
        assert isinstance(self.listener, GrpcListener)
        return self.listener.server

    @property
    def methods(self) -> dict[str, Accept]:
        """Of a service on our own engine: takes who accepts the calls of a path while it starts."""
        assert isinstance(self.listener, Http2Listener)
        return self.listener.methods

    @property
    def pages(self) -> dict[str, Callable[[], Page]]:
        """Of a service on our own engine: what a plain GET of a path is answered."""
        assert isinstance(self.listener, Http2Listener)
        return self.listener.pages


Start = Callable[[Runtime], AbstractAsyncContextManager[None]]


def run(
    config: ServiceConfig,
    start: Start,
    services: Sequence[str],
    message_bytes_max: int,
    listens_by: type[GrpcListener] | type[Http2Listener] = GrpcListener,
) -> None:
    """Serves until a signal; exits the process with 1 and one line when it cannot start."""
    logs = setup.set_up(config.instance, config.log_level)
    telemetry.start(config)
    try:
        asyncio.run(_main(config, start, lambda: listens_by(services, message_bytes_max, config.tls)))
    except OSError as error:
        log.error("%s: %s", config.instance, error)
        sys.exit(1)
    finally:
        telemetry.stop()
        logs.close()


async def _main(config: ServiceConfig, start: Start, listener_of: Callable[[], Listener]) -> None:
    try:
        await _serve(config, start, listener_of)
    finally:
        await end_all_others()


async def _serve(config: ServiceConfig, start: Start, listener_of: Callable[[], Listener]) -> None:
    listener = listener_of()
    runtime = Runtime(config, listener)
    async with observed(config, runtime.metrics, runtime.readiness, listener):
        await _start_and_drain(runtime, start)


async def _start_and_drain(runtime: Runtime, start: Start) -> None:
    config, listener = runtime.config, runtime.listener
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.draining.set)
    starting = asyncio.create_task(_enter(start(runtime)))
    await asyncio.wait(
        {starting, asyncio.create_task(runtime.draining.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    if not starting.done():
        starting.cancel()
        return
    service = starting.result()
    try:
        await listener.start(config.listen)
        runtime.readiness.phase = readiness.SERVING
        log.info("%s serves on %s", config.instance, config.listen)
        # What lives now lives long: keep the collector from walking it again and again. And what comes
        # lives short and in trees, not circles, save closed connections and what failed: look for those less
        # often than every 700 objects, but before they are a megabyte. All that lives is walked seldom.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 20, 200)
        await runtime.draining.wait()
        log.info("%s drains", config.instance)
        runtime.readiness.phase = readiness.DRAINING
        await listener.stop(limits.DRAIN_GRACE_S)
    finally:
        await service.aclose()


async def _enter(manager: AbstractAsyncContextManager[None]) -> contextlib.AsyncExitStack:
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(manager)
    return stack


@contextlib.asynccontextmanager
async def answering(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    """Turns a domain error of its body into the call's gRPC status; when to come again goes with it."""
    try:
        yield
    except GrandstandError as error:
        trailers: tuple[tuple[str, bytes], ...] = ()
        if error.retry_after_s is not None:
            details = encoded_status(error.code, error.message, error.retry_after_s)
            trailers = (("grpc-status-details-bin", details),)
        await context.abort(_CODES[error.code], error.message, trailers)
