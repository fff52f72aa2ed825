"""A small service on `mesh.http2.server`, for tests with real clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import grpc

from mesh.http2.call import Accept, Call, Handler
from mesh.http2.server import Http2Server
from mesh.http2.tls import TlsFiles
from tests.support.games import until

HOST = "127.0.0.1"
ECHO = "/test.Test/Echo"
DEAF = "/test.Test/Deaf"
PATIENCE_S = 20.0


class Echo:
    """Answers each message with itself; reads no more while its client does not."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def received(self, message: bytes) -> None:
        self.call.send(message)
        if not self.call.is_writable:
            self.call.pause()

    def half_closed(self) -> None:
        self.call.end()

    def writable(self) -> None:
        self.call.resume()

    def gone(self) -> None:
        pass


class Deaf(Echo):
    """Never reads."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        call.pause()


class Calls:
    """What became of the calls of a method."""

    def __init__(self, kind: type[Echo]) -> None:
        self._kind = kind
        self.accepted = 0
        self.gone = 0
        self.half_closed = 0
        self.held: set[Call] = set()
        """Those that read no more, as their clients do not."""
        self.metadata: tuple[tuple[str, str], ...] = ()

    def accept(self, call: Call) -> Handler:
        self.accepted += 1
        self.metadata = tuple(call.metadata)
        kind, calls = self._kind, self

        class Counted(kind):  # type: ignore[misc, valid-type]
            def received(self, message: bytes) -> None:
                super().received(message)
                if not self.call.is_writable:
                    calls.held.add(self.call)

            def writable(self) -> None:
                calls.held.discard(self.call)
                super().writable()

            def half_closed(self) -> None:
                calls.half_closed += 1
                super().half_closed()

            def gone(self) -> None:
                calls.gone += 1
                calls.held.discard(self.call)
                super().gone()

        handler: Handler = Counted(call)
        return handler


@contextlib.asynccontextmanager
async def serving(
    methods: Mapping[str, Accept],
    *,
    message_bytes_max: int = 256 * 1024,
    streams_max: int = 10_000,
    listen: str = f"{HOST}:0",
    tls: TlsFiles | None = None,
) -> AsyncIterator[tuple[Http2Server, str]]:
    """The server and its address."""
    server = Http2Server(methods, message_bytes_max=message_bytes_max, streams_max=streams_max, tls=tls)
    port = await server.start(listen)
    try:
        yield server, f"{HOST}:{port}" if port else listen
    finally:
        await server.close(0.0)


@contextlib.asynccontextmanager
async def stuck(call: grpc.aio.StreamStreamCall, calls: Calls) -> AsyncIterator[None]:
    """`call` writes without reading, and is held back, while the body runs; then it is cancelled."""

    async def write() -> None:
        while True:
            await call.write(b"x" * 50_000)

    writing = asyncio.create_task(write())
    await until(lambda: calls.held, "its answers fill what there is")
    try:
        yield
        assert not writing.done()
        assert calls.held
    finally:
        # Cancelling a write would cancel the call just so.
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await writing
