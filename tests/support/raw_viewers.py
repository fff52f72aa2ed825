"""Viewers made by hand, many on one connection: they grant windows as they like, and read when they like."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import hpack
from google.protobuf.message import Message

from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse
from mesh.http2 import frames as f

SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"


class Ending(NamedTuple):
    """Of a stream; code -1 if it was reset without a status."""

    code: int
    message: str
    at_s: float
    """When it was read, by time.monotonic."""


class Line:
    """One connection; it reads on by itself, unless it is `deaf`: then nothing is ever taken from the socket.

    `window` is what each stream may be sent before `grant`; the connection's own is always wide.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int, path: str
    ) -> None:
        self.received = defaultdict[int, list[SubscribeResponse]](list)
        self.bytes: Counter[int] = Counter()
        """Of DATA, by stream."""
        self.ended: dict[int, Ending] = {}
        self.goaway: int | None = None
        self.is_closed = False
        self._path = path
        self._reader = reader
        self._writer = writer
        self._partial = defaultdict[int, bytes](bytes)
        self._decoder = hpack.Decoder()
        self._encoder = hpack.Encoder()
        self._next = 1
        self._granted = f.WINDOW_MAX
        writer.write(
            f.PREFACE
            + f.settings({f.ENABLE_PUSH: 0, f.INITIAL_WINDOW_SIZE: window})
            + f.window_update(0, f.WINDOW_MAX - f.WINDOW_DEFAULT)
        )

    def subscribe(self, request: Message | bytes, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """The new stream's id; the request leaves soon."""
        stream = self.open(metadata)
        body = request if isinstance(request, bytes) else request.SerializeToString()
        self._writer.write(f.frame(f.DATA, f.END_STREAM, stream, f.PREFIX.pack(0, len(body)) + body))
        return stream

    def open(self, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """A new stream, of which only the headers come."""
        stream = self._next
        self._next += 2
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self._path),
            (":authority", "test"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        self._writer.write(f.frame(f.HEADERS, f.END_HEADERS, stream, self._encoder.encode(fields)))
        return stream

    def watch(self, game_id: str, *topics: str, count: int = 1, **fields: object) -> list[int]:
        request = SubscribeRequest(game_id=game_id, topics=topics, **fields)  # type: ignore[arg-type]
        return [self.subscribe(request) for _ in range(count)]

    def grant(self, stream: int, octets: int) -> None:
        self._writer.write(f.window_update(stream, octets))

    def reset(self, stream: int) -> None:
        self._writer.write(f.frame(f.RST_STREAM, 0, stream, f.CANCEL.to_bytes(4, "big")))

    async def drain(self) -> None:
        """All that was said has left."""
        await self._writer.drain()

    async def read(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                high, low, kind, flags, stream = f.HEAD.unpack(await self._reader.readexactly(f.HEAD_BYTES))
                self._take(kind, flags, stream, await self._reader.readexactly(high << 8 | low))
        self.is_closed = True

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == f.DATA:
            self.bytes[stream] += len(payload)
            self._granted -= len(payload)
            if self._granted < f.WINDOW_MAX // 2:
                self._writer.write(f.window_update(0, f.WINDOW_MAX - self._granted))
                self._granted = f.WINDOW_MAX
            self._messages(stream, payload)
        elif kind == f.HEADERS:
            fields = dict(self._decoder.decode(payload))
            if flags & f.END_STREAM:
                message = unquote(str(fields.get("grpc-message", "")))
                self.ended[stream] = Ending(int(fields.get("grpc-status", -1)), message, time.monotonic())
        elif kind == f.RST_STREAM:
            reset = f"RST_STREAM {int.from_bytes(payload, 'big')}"
            self.ended.setdefault(stream, Ending(-1, reset, time.monotonic()))
        elif kind == f.GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind in (f.SETTINGS, f.PING) and not flags & f.ACK:
            if kind == f.SETTINGS:
                self._encoder.header_table_size = 0  # as every SETTINGS of ours asks
            self._writer.write(f.frame(kind, f.ACK, 0, payload if kind == f.PING else b""))

    def _messages(self, stream: int, payload: bytes) -> None:
        data = self._partial[stream] + payload
        while len(data) >= f.PREFIX_BYTES:
            end = f.PREFIX_BYTES + f.PREFIX.unpack_from(data)[1]
            if len(data) < end:
                break
            self.received[stream].append(SubscribeResponse.FromString(data[f.PREFIX_BYTES : end]))
            data = data[end:]
        self._partial[stream] = data


@contextlib.asynccontextmanager
async def line_to(
    address: str,
    *,
    window: int = f.WINDOW_MAX,
    deaf: bool = False,
    socket_bytes: int | None = None,
    source: str = "",
    path: str = SUBSCRIBE,
) -> AsyncIterator[Line]:
    """`socket_bytes`: of the receive buffer, so that a deaf line is soon a full one. `source`: the address
    that it comes from, such as "127.0.0.66"."""
    host, _, port = address.rpartition(":")
    plug = socket.socket()
    if socket_bytes is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, socket_bytes)
    if source:
        plug.bind((source, 0))
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plug, limit=4096 if deaf else 2**16)
    line = Line(reader, writer, window, path)
    reading = None if deaf else asyncio.create_task(line.read())
    try:
        yield line
    finally:
        if reading is not None:
            reading.cancel()
        writer.transport.abort()
