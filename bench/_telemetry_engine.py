"""Our HTTP/2 engine without a socket, for bench telemetry: frames go in as they come from one, and what it
writes is thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from bench._frames import header_block, message
from bench._virtual_loop import VirtualLoop
from mesh.http2 import frames as f
from mesh.http2.call import Accept
from mesh.http2.server import ConnectionProtocol, Http2Server

_MESSAGE_BYTES_MAX = 1024 * 1024
Fields = Sequence[tuple[str, str]]

_OPENING = (
    f.PREFACE
    + f.settings({f.HEADER_TABLE_SIZE: 0, f.INITIAL_WINDOW_SIZE: f.WINDOW_MAX})
    + f.window_update(0, f.WINDOW_MAX - f.WINDOW_DEFAULT)
    + f.frame(f.SETTINGS, f.ACK, 0)
)


class _Nowhere:
    """A transport that takes everything at once."""

    def get_extra_info(self, _: str) -> None: ...
    def set_write_buffer_limits(self, *_: int) -> None: ...
    def is_closing(self) -> bool:
        return False

    def write(self, _: bytes) -> None: ...


class EngineConnection:
    """One connection of a server that has this method alone."""

    def __init__(self, loop: VirtualLoop, path: str, accept: Accept, *, is_traced: bool) -> None:
        server = Http2Server({path: accept}, message_bytes_max=_MESSAGE_BYTES_MAX)
        server.rpc.is_traced = is_traced
        self._path = path
        self._protocol = ConnectionProtocol(server, loop)
        self._protocol.connection_made(cast(asyncio.BaseTransport, _Nowhere()))
        self._next = 1
        self._window = 0
        self.feed(_OPENING)

    def feed(self, data: bytes) -> None:
        """What the peer has sent, in as many reads as the engine asks for."""
        at = 0
        while at < len(data):
            buffer = self._protocol.get_buffer(-1)
            size = min(len(buffer), len(data) - at)
            buffer[:size] = data[at : at + size]
            self._protocol.buffer_updated(size)
            at += size

    def block(self, fields: Fields) -> bytes:
        """The header block of a call with this metadata."""
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", self._path), (":authority", "bench")]
        return header_block([*pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *fields])

    def call(self, block: bytes) -> tuple[int, bytes]:
        """A new one: its stream, and the frame that opens it."""
        stream, self._next = self._next, self._next + 2
        # As Envoy does, the first block says that there is no table.
        block = b"\x20" + block if stream == 1 else block
        return stream, f.frame(f.HEADERS, f.END_HEADERS, stream, block)

    @staticmethod
    def data(stream: int, payload: bytes, *, is_last: bool = False) -> bytes:
        return f.frame(f.DATA, f.END_STREAM if is_last else 0, stream, message(payload))


def traceparent(number: int, *, is_sampled: bool) -> str:
    return f"00-{number + 1:032x}-{number + 1:016x}-{int(is_sampled):02x}"


def as_any(made: object) -> Any:
    """For what stands in for a part that has much more to it."""
    return made
