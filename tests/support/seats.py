"""Viewers at the far end of HTTP/2 connections without sockets: what each was sent, and what it lets come."""

from __future__ import annotations

from mesh.http2 import frames as f
from mesh.http2.call import Call
from tests.support.http2_peer import Frame, Peer, split

WIDE = 2**30


class Line:
    """One connection of viewers. `window`: of each stream; the connection's own is wide unless given."""

    def __init__(self, window: int = WIDE, connection_window: int = WIDE) -> None:
        self.peer = Peer()
        self.peer.settle({f.INITIAL_WINDOW_SIZE: window})
        if connection_window > f.WINDOW_DEFAULT:
            self.peer.feed(f.window_update(0, connection_window - f.WINDOW_DEFAULT))
        self.calls: dict[int, Call] = {}
        self.ended: set[int] = set()
        self._bytes: dict[int, bytearray] = {}

    def open(self, count: int = 1) -> list[Call]:
        opened = []
        for _ in range(count):
            stream = 2 * len(self.calls) + 1
            call = self.peer.open(stream).call
            self.calls[stream] = call
            self._bytes[stream] = bytearray()
            opened.append(call)
        return opened

    @property
    def streams(self) -> list[int]:
        return list(self.calls)

    def reset(self, stream: int) -> None:
        self.take(self.peer.feed(f.rst_stream(stream, f.CANCEL)))
        self.ended.add(stream)

    def widen(self, stream: int, by: int) -> None:
        """The viewer reads, or (stream 0) the proxy does."""
        self.take(self.peer.feed(f.window_update(stream, by)))

    def take(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.kind == f.DATA:
                self._bytes[frame.stream] += frame.payload
            elif frame.kind in (f.HEADERS, f.RST_STREAM) and frame.flags & f.END_STREAM:
                self.ended.add(frame.stream)

    def writes(self) -> int:
        """How many buffers the server writes for what it has to say now."""
        count = 0
        self.peer.turn()
        while self.peer.server.write_buffer.parts:
            count += len(self.peer.server.write_buffer.parts)
            self.take(split(bytes(self.peer.take())))
        return count

    def messages(self, stream: int) -> list[bytes]:
        """The whole messages that came since the last time; what is not whole yet stays."""
        self.take(self.peer.said())
        data, found = self._bytes[stream], []
        while len(data) >= f.PREFIX_BYTES:
            compressed, length = f.PREFIX.unpack_from(data)
            assert compressed == 0
            if len(data) < f.PREFIX_BYTES + length:
                break
            found.append(bytes(data[f.PREFIX_BYTES : f.PREFIX_BYTES + length]))
            del data[: f.PREFIX_BYTES + length]
        return found
