"""The admin port of a process: a few pages by plain HTTP/1.1, for Prometheus and for probes.

It listens where `--admin` says and nowhere without it. Only GET and HEAD are answered, nothing can be changed
here, and no page holds a secret. It shares the loop with the service, so an answer of /livez proves the loop.

Bounds: CONNECTIONS_MAX, beyond which new ones are closed; REQUEST_BYTES_MAX; REQUEST_S for the next request
to come, and REPLY_S for a reply to be taken: a client that does not read is cut off. One request at a time is
answered on a connection. A connection holds its reply alone, of which all that scrape at once share one.

Rejected: our own HTTP/2 engine (Prometheus and kubelet speak HTTP/1.1), and the port of the service itself,
which is the mesh's and takes no unauthenticated callers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from mesh.http2 import sockets
from mesh.http2.sockets import SocketFile

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
REQUEST_BYTES_MAX = 8 * 1024
REQUEST_S = 75.0
"""Longer than the usual interval of scrapes, so that their connections live."""
REPLY_S = 5.0
JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class AdminReply:
    status: int
    content: bytes
    content_type: str = JSON


Route = Callable[[], Awaitable[AdminReply]]


class AdminServer:
    """`routes`: what answers a GET of each path."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._connections: set[_AdminConnection] = set()
        self._listener: asyncio.Server | None = None
        self._file: SocketFile | None = None
        self.cut_off = 0
        """Connections that were closed because their client did not read, since the start."""

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self, address: str) -> int:
        """`address`: HOST:PORT, port 0 for any free one, or unix:/PATH. Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            if sockets.is_unix(address):
                self._file = await asyncio.to_thread(sockets.listen_unix, address)
                self._listener = await loop.create_unix_server(self._protocol, sock=self._file.raw)
                return 0
            host, _, port = address.rpartition(":")
            self._listener = await loop.create_server(self._protocol, host.strip("[]"), int(port))
            return int(self._listener.sockets[0].getsockname()[1])
        except (OSError, ValueError, OverflowError) as error:
            raise OSError(f"cannot listen on {address} for --admin: {error}") from None

    def stop(self) -> None:
        if self._file is not None:
            self._file.remove()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.abort()

    def _protocol(self) -> asyncio.BaseProtocol:
        return _AdminConnection(self)

    # Called by connections.

    def enter(self, connection: _AdminConnection) -> bool:
        if len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: _AdminConnection) -> None:
        self._connections.discard(connection)

    async def answer(self, path: str) -> AdminReply:
        route = self._routes.get(path)
        if route is None:
            known = " ".join(sorted(self._routes))
            return AdminReply(404, f"there is no such page; there are {known}\n".encode(), _TEXT)
        try:
            return await route()
        except Exception:
            log.exception("the page %s of the admin port failed", path)
            return AdminReply(500, b"the page failed; the log says why\n", _TEXT)


class _AdminConnection(asyncio.Protocol):
    def __init__(self, server: AdminServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.enter(self):
            self._transport.abort()
            return
        # Any byte that the client does not take calls pause_writing; resume_writing says that it took all.
        self._transport.set_write_buffer_limits(0)
        self._patience(REQUEST_S)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._server.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _patience(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def _next(self) -> None:
        """Answers what was received, if it is a whole request and the one before is answered."""
        head, found, rest = self._received.partition(_END_OF_HEAD)
        if self._answering is not None or not found:
            if len(self._received) > REQUEST_BYTES_MAX:
                self.abort()
            return
        self._received = rest
        assert self._transport is not None
        self._answering = self._loop.create_task(self._answer(head))

    async def _answer(self, head: bytes) -> None:
        request, *headers = head.decode("latin-1").split("\r\n")
        method, _, target = request.partition(" ")
        path, _, version = target.partition(" ")
        asked = {line.partition(":")[0].strip().lower(): line.partition(":")[2].strip() for line in headers}
        kept = asked.get("connection", "").lower()
        self._is_last = kept == "close" or (version != "HTTP/1.1" and kept != "keep-alive")
        if not version.startswith("HTTP/1.") or "content-length" in asked or "transfer-encoding" in asked:
            self._is_last = True
            reply = AdminReply(400, b"only GET and HEAD by HTTP/1.1 are answered here\n", _TEXT)
        elif method not in ("GET", "HEAD"):
            reply = AdminReply(405, b"only GET and HEAD are answered here\n", _TEXT)
        else:
            reply = await self._server.answer(path.partition("?")[0])
        self._answering = None
        if self._transport is not None:
            self._write(reply, with_content=method != "HEAD")

    def _write(self, reply: AdminReply, *, with_content: bool) -> None:
        assert self._transport is not None
        head = (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
            f"content-type: {reply.content_type}\r\ncontent-length: {len(reply.content)}\r\n"
            f"connection: {'close' if self._is_last else 'keep-alive'}\r\ncache-control: no-store\r\n\r\n"
        )
        self._patience(REQUEST_S)
        self._transport.write(head.encode())
        if with_content:
            self._transport.write(reply.content)
        if self._is_last:
            self._transport.close()
        else:
            self._next()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(REPLY_S, self._cut_off)

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._patience(REQUEST_S)

    def _cut_off(self) -> None:
        self._server.cut_off += 1
        self.abort()
