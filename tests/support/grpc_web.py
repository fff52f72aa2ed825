"""A gRPC-Web viewer over HTTP/1.1 as a bare socket: it reads as much as a test wants, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

from mesh.envoy.config import Endpoint

# The least the system grants.
_RECEIVE_BUFFER_BYTES = 2_048


class WebViewer:
    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self.heard = b""
        """HTTP and all."""

    async def until(self, what: bytes, within_s: float = 20.0) -> None:
        """Reads until `what` came, and forgets what was before it."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within_s):
            while what not in self.heard:
                some = await loop.sock_recv(self._raw, 65_536)
                assert some, self.heard[-1_000:]
                self.heard += some
        self.heard = self.heard.partition(what)[2]

    async def to_the_end(self, within_s: float = 20.0) -> bytes:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within_s):
            while some := await loop.sock_recv(self._raw, 65_536):
                self.heard += some
        return self.heard


@contextlib.asynccontextmanager
async def web_viewer(
    edge: Endpoint, path: str, message: bytes, headers: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
) -> AsyncIterator[WebViewer]:
    """Has sent one request message, and closes its side's socket at the end."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        await loop.sock_connect(raw, (edge.host, edge.port))
        body = b"\0" + len(message).to_bytes(4, "big") + message
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {edge.host}",
            "content-type: application/grpc-web+proto",
            "x-grpc-web: 1",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in pairs),
        ]
        await loop.sock_sendall(raw, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        yield WebViewer(raw)
