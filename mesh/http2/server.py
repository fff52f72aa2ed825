"""Serves gRPC over HTTP/2 on the running loop: the sockets and timers of mesh.http2.connection.

On TCP or a Unix socket (mesh.http2.sockets), by prior knowledge, or with TLS (mesh.http2.tls).

Everything that the calls of a connection send in one turn of the loop is one write to its transport. While a
transport is full (TRANSPORT_HIGH_BYTES) nothing is read from it, so a peer that sends requests and does not
read the responses costs no more memory than that.

Bounds: CONNECTIONS_MAX connections and HANDSHAKES_MAX TLS handshakes, beyond which new ones are closed;
`streams_max` calls over all connections, beyond which new ones are answered with REFUSED_STREAM.

Rejected: grpc.aio, whose core costs a thread wake-up and a system call for each message, 10 µs to read one
and 19 µs to answer it. A task for each connection or call.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from mesh.http2 import bounds, sockets
from mesh.http2.call import Methods, Pages
from mesh.http2.connection import Connection
from mesh.http2.errors import Cause
from mesh.http2.handshakes import TlsHandshake
from mesh.http2.sockets import SocketFile
from mesh.http2.stream import Stream
from mesh.http2.termination_counts import TerminationCounts
from mesh.http2.tls import Tls, TlsFiles
from mesh.metrics.rpc_counts import RpcCounts

log = logging.getLogger(__name__)


class Http2Server:
    def __init__(
        self,
        methods: Methods,
        *,
        message_bytes_max: int,
        streams_max: int = 100_000,
        tls: TlsFiles | None = None,
        pages: Pages | None = None,
        rpc: RpcCounts | None = None,
    ) -> None:
        """`rpc`: counts the calls by method. Raises OSError when the files of `tls` cannot be read."""
        self.methods = methods
        self.pages = pages
        self.message_bytes_max = message_bytes_max
        self.streams_max = streams_max
        self.streams = 0
        """Open calls."""
        self.streams_opened = 0
        """Since the start."""
        self.terminations = TerminationCounts()
        """Refusals and ended connections, streams and calls, by cause, since the start."""
        self.rpc = rpc or RpcCounts()
        self.bytes_received = 0
        self.bytes_sent = 0
        self.read_buffer = memoryview(bytearray(bounds.READ_BYTES))
        """Shared by all connections: a read is copied out of it at once."""
        self._messages_of_lost = 0
        self._protocols: set[ConnectionProtocol] = set()
        self._handshakes: set[TlsHandshake] = set()
        self._tls = Tls(tls) if tls is not None else None
        self._listener: asyncio.Server | None = None
        self._file: SocketFile | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._is_draining = False

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._protocols)

    @property
    def is_listening(self) -> bool:
        return self._listener is not None and self._listener.is_serving()

    @property
    def messages_received(self) -> int:
        """Since the start."""
        return self._messages_of_lost + sum(
            protocol.connection.calls.messages_received for protocol in self._protocols
        )

    async def start(self, address: str) -> int:
        """`address`: "host:port", port 0 for any free one; returns the port. Or "unix:/path"; returns 0.
        Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            if sockets.is_unix(address):
                # It may wait for another process, which listens in the same folder.
                self._file = await asyncio.to_thread(sockets.listen_unix, address)
                self._listener = await loop.create_unix_server(
                    lambda: self._protocol(loop), sock=self._file.raw, backlog=sockets.BACKLOG
                )
                port = 0
            else:
                host, _, number = address.rpartition(":")
                self._listener = await loop.create_server(
                    lambda: self._protocol(loop),
                    host.strip("[]"),
                    int(number),
                    backlog=sockets.BACKLOG,
                    reuse_port=False,
                )
                port = int(self._listener.sockets[0].getsockname()[1])
        except (OSError, ValueError, OverflowError) as error:
            self._remove_file()
            raise OSError(f"cannot listen on {address}: {error}") from None
        self._looking = loop.call_later(bounds.LOOK_S, self._look)
        return port

    def _protocol(self, loop: asyncio.AbstractEventLoop) -> asyncio.BaseProtocol:
        """For a new connection."""
        if self._tls is None:
            return ConnectionProtocol(self, loop)
        return TlsHandshake(self, loop, self._tls.context, lambda: ConnectionProtocol(self, loop))

    def drain(self) -> None:
        """Closes the listener; GOAWAY to all; open calls go on."""
        self._remove_file()
        if self._listener is not None:
            self._listener.close()
        self._is_draining = True
        for protocol in list(self._protocols):
            protocol.connection.drain()

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None

    async def close(self, grace_s: float) -> None:
        """Drains, waits for open calls at most `grace_s`, then cuts (UNAVAILABLE)."""
        self.drain()
        try:
            await self._until(lambda: not self.streams, grace_s)
        finally:
            for handshake in list(self._handshakes):
                handshake.abort()
            for protocol in list(self._protocols):
                protocol.connection.cut()
        await self._until(lambda: not self._protocols, bounds.LINGER_S)
        for protocol in list(self._protocols):
            protocol.abort()
        # The loop tells of an abort a turn later.
        await self._until(lambda: not self._protocols, bounds.LINGER_S)
        if self._looking is not None:
            self._looking.cancel()

    async def _until(self, is_so: Callable[[], bool], patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(bounds.LOOK_S, self._look)
        now = loop.time()
        for protocol in list(self._protocols):
            protocol.look(now)

    # Called by connections.

    def may_connect(self, protocol: ConnectionProtocol) -> bool:
        if self._is_draining:
            return False
        if len(self._protocols) >= bounds.CONNECTIONS_MAX:
            self.terminations.before_http2(Cause.NO_ROOM)
            return False
        self._protocols.add(protocol)
        return True

    def may_start_handshake(self, handshake: TlsHandshake) -> bool:
        if self._is_draining:
            return False
        if len(self._handshakes) >= bounds.HANDSHAKES_MAX:
            self.terminations.before_http2(Cause.NO_ROOM)
            return False
        self._handshakes.add(handshake)
        return True

    def handshake_finished(self, handshake: TlsHandshake, failed: Cause | None) -> None:
        self._handshakes.discard(handshake)
        if failed is not None and not self._is_draining:
            self.terminations.before_http2(failed)

    def lost(self, protocol: ConnectionProtocol) -> None:
        if protocol in self._protocols:
            self._protocols.discard(protocol)
            self._messages_of_lost += protocol.connection.calls.messages_received
            self._changed.set()

    def stream_opened(self) -> None:
        self.streams += 1
        self.streams_opened += 1

    def stream_closed(self) -> None:
        self.streams -= 1
        if not self.streams:
            self._changed.set()


class ConnectionProtocol(asyncio.BufferedProtocol):
    """One connection's socket. Implements asyncio's protocol and mesh.http2.connection.Shell."""

    connection: Connection

    def __init__(self, server: Http2Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._is_full = False
        self._unsent_bytes = 0
        self._closing_since: float | None = None
        self._read_bytes = bounds.READ_BYTES_OPENING

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        if not server.may_connect(self):
            self._transport.abort()
            self._transport = None
            return
        self._transport.set_write_buffer_limits(bounds.TRANSPORT_HIGH_BYTES, bounds.TRANSPORT_LOW_BYTES)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = Connection(
            server.methods,
            self,
            self._loop.time(),
            message_bytes_max=server.message_bytes_max,
            streams_max=server.streams_max,
            terminations=server.terminations,
            peer=_address_of(raw),
            pages=server.pages,
        )

    def get_buffer(self, _: int) -> memoryview:
        return self._server.read_buffer[: self._read_bytes]

    def buffer_updated(self, size: int) -> None:
        if self._transport is not None:
            server, connection = self._server, self.connection
            server.bytes_received += size
            last_id = connection.calls.last_id
            connection.receive(bytes(server.read_buffer[:size]), self._loop.time())
            # Ids of calls are odd.
            if opened := (connection.calls.last_id - last_id + 1) // 2:
                wanted = max(bounds.READ_BYTES_OPENING, bounds.CALLS_PER_READ * size // opened)
            else:
                wanted = 2 * self._read_bytes
            self._read_bytes = min(wanted, bounds.READ_BYTES)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self.connection.lost()
            self._server.lost(self)

    def pause_writing(self) -> None:
        self._is_full = True
        self.connection.write_buffer.pause()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self.connection.write_buffer.resume()

    def look(self, now: float) -> None:
        """Every LOOK_S."""
        transport = self._transport
        if transport is None:
            return
        if self._closing_since is not None:
            if now - self._closing_since >= bounds.LINGER_S:
                transport.abort()
            return
        if self._is_full:
            # More of it is what we added, a PING; less is what the peer took.
            unsent_bytes = transport.get_write_buffer_size()
            if unsent_bytes < self._unsent_bytes:
                self.connection.peer_reads(now)
            self._unsent_bytes = unsent_bytes
        self.connection.look(now, is_read=not self._is_full)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Shell.

    def output_ready(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        write_buffer = self.connection.write_buffer
        data = write_buffer.take()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._server.bytes_sent += len(data)
        transport.write(data)
        write_buffer.flushed()
        if self._closing_since is not None and not write_buffer.is_flush_scheduled:
            transport.close()

    def hang_up(self) -> None:
        if self._closing_since is None:
            self._closing_since = self._loop.time()
            if not self.connection.write_buffer.is_flush_scheduled:
                self.connection.write_buffer.schedule_flush()

    def may_open(self) -> bool:
        return self._server.streams < self._server.streams_max

    def opened(self) -> None:
        self._server.stream_opened()

    def called(self, stream: Stream) -> None:
        rpc = self._server.rpc
        stream.counted = rpc.open(stream.path)
        if rpc.is_traced:
            stream.traceparent = stream.metadata.contexts[0]

    def closed(self, stream: Stream) -> None:
        self._server.stream_closed()
        counted = stream.counted
        if counted is not None:
            counted.end(stream.status, self._loop.time() - stream.opened_at, stream.traceparent)

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, callback)


def _address_of(raw: socket.socket | None) -> str:
    """Of whom the socket leads to: without the port, "" on a Unix socket and for one that is gone already."""
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        return str(raw.getpeername()[0])
    except OSError:
        return ""
