"""A TCP proxy that can stop forwarding without closing anything: what a dead link looks like."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator


class Proxy:
    """`cut_off`: what is open stays open and says nothing more to either side; what is new is forwarded, or
    closed at once while it `is_down`."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.is_down = False
        self.delay_s = 0.0
        """Of each chunk, either way."""
        self.target = port
        self.held = asyncio.Event()
        """A request was met at which everything stops, see `hold`."""
        self._hold_at = b""
        self._holds_answer = False
        self._dead = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def hold(self, request: bytes, *, answer: bool = False) -> None:
        """From the first request on that has these bytes nothing is forwarded; with `answer` it still is."""
        self._hold_at, self._holds_answer = request, answer

    def release(self) -> None:
        self._hold_at = b""
        self.held.clear()

    def cut_off(self) -> None:
        self._dead.set()
        self._dead = asyncio.Event()

    def reset(self) -> None:
        """Ends what is open with a TCP reset."""
        for writer in self._writers:
            with contextlib.suppress(OSError):  # closed
                plug = writer.get_extra_info("socket")
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.close()
            return
        self.connections += 1
        dead = self._dead
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._forward(source, sink, dead, is_request=source is reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        dead: asyncio.Event,
        *,
        is_request: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if dead.is_set() or self.held.is_set():
                    continue
                if is_request and self._hold_at and self._hold_at in data:
                    self.held.set()
                    if not self._holds_answer:
                        continue
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                sink.write(data)
                await sink.drain()
        if not dead.is_set():
            sink.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
