"""A connection until its TLS handshake is done; then the wire has it.

Bounds: HANDSHAKES_MAX at once, as each costs some 300 KiB, beyond which new connections are closed; each
ends after HANDSHAKE_PATIENCE_S. What a client sends together with the end of its handshake waits here, one
read of it, until the loop comes round.

Rejected: the loop's own server with TLS. It tells of a connection only after the handshake, so nobody could
count those that never end one; and its certificate is fixed when it starts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from mesh.http2 import bounds
from mesh.http2.errors import Cause
from mesh.http2.tls import ALPN


class Reception(Protocol):
    """The server, as a lobby sees it."""

    def may_shake_hands(self, lobby: Lobby) -> bool:
        """Whether there is room for one more; it is counted until `handshake_over`."""

    def handshake_over(self, lobby: Lobby, failed: Cause | None) -> None:
        """`failed`: why, if it did."""


class Lobby(asyncio.Protocol):
    def __init__(
        self,
        reception: Reception,
        loop: asyncio.AbstractEventLoop,
        context: Callable[[], ssl.SSLContext],
        enter: Callable[[], asyncio.BufferedProtocol],
    ) -> None:
        """`enter` makes the protocol that the connection is handed to."""
        self._reception = reception
        self._loop = loop
        self._context = context
        self._enter = enter
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._reception.may_shake_hands(self):
            self._task = self._loop.create_task(self._shake_hands(self._transport))
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._early += data

    def eof_received(self) -> None:
        self._has_ended = True

    def connection_lost(self, _: Exception | None) -> None:
        self._has_ended = True

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
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
            # Of TLS, of the socket, or the time that is up.
            transport.abort()
            return
        finally:
            self._reception.handshake_over(self, failed)
        self._hand_over(secured)

    def _hand_over(self, secured: asyncio.Transport) -> None:
        protocol = self._enter()
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
        early = memoryview(self._early)
        while early and not secured.is_closing():
            buffer = memoryview(protocol.get_buffer(len(early)))
            size = min(len(buffer), len(early))
            buffer[:size] = early[:size]
            protocol.buffer_updated(size)
            early = early[size:]
        self._early = bytearray()
