"""The TLS handshake of a new connection. Afterwards the connection is handed to the HTTP/2 protocol.

Bounds: HANDSHAKES_MAX at once, as each costs some 300 KiB; beyond that new connections are closed. Each is
aborted after HANDSHAKE_PATIENCE_S. Data that arrives with the end of a handshake, at most one read, is kept
until the connection is handed over.

Rejected: the loop's own server with TLS. It reports a connection only after its handshake, so handshakes that
never end could not be counted; and its certificate is fixed when the server starts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from mesh.http2 import bounds
from mesh.http2.errors import Cause
from mesh.http2.tls import ALPN


class HandshakeServer(Protocol):
    """What a handshake needs of the server."""

    def may_start_handshake(self, handshake: TlsHandshake) -> bool:
        """Whether HANDSHAKES_MAX allows one more; it is counted until `handshake_finished`."""

    def handshake_finished(self, handshake: TlsHandshake, failed: Cause | None) -> None:
        """`failed`: the cause if it failed."""


class TlsHandshake(asyncio.Protocol):
    def __init__(
        self,
        server: HandshakeServer,
        loop: asyncio.AbstractEventLoop,
        context: Callable[[], ssl.SSLContext],
        make_protocol: Callable[[], asyncio.BufferedProtocol],
    ) -> None:
        """`make_protocol` makes the protocol that the connection is handed to."""
        self._server = server
        self._loop = loop
        self._context = context
        self._make_protocol = make_protocol
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._received = bytearray()
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._server.may_start_handshake(self):
            self._task = self._loop.create_task(self._run(self._transport))
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data

    def eof_received(self) -> None:
        self._has_ended = True

    def connection_lost(self, _: Exception | None) -> None:
        self._has_ended = True

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _run(self, transport: asyncio.Transport) -> None:
        failed: Cause | None = Cause.HANDSHAKE
        try:
            secured = await self._loop.start_tls(
                transport,
                self,
                self._context(),
                server_side=True,
                ssl_handshake_timeout=bounds.HANDSHAKE_PATIENCE_S,
                ssl_shutdown_timeout=bounds.LINGER_S,
            )
            if secured is None or self._has_ended:
                transport.abort()
                return
            found: ssl.SSLObject = secured.get_extra_info("ssl_object")
            if found.selected_alpn_protocol() != ALPN:
                failed = Cause.ALPN
                secured.close()
                return
            failed = None
        except OSError:
            # A TLS error, a socket error, or the timeout.
            transport.abort()
            return
        finally:
            self._server.handshake_finished(self, failed)
        self._hand_over(secured)

    def _hand_over(self, secured: asyncio.Transport) -> None:
        protocol = self._make_protocol()
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
        received = memoryview(self._received)
        while received and not secured.is_closing():
            buffer = memoryview(protocol.get_buffer(len(received)))
            size = min(len(buffer), len(received))
            buffer[:size] = received[:size]
            protocol.buffer_updated(size)
            received = received[size:]
        self._received = bytearray()
