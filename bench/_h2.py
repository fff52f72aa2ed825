"""One HTTP/2 connection with many gRPC calls on it, as Envoy holds one to a service; made to cost little.

The caller writes messages to streams (`send`), then `flush`; when the socket is readable it calls
`receive` and gets what the streams said. SETTINGS and PING are answered here, and windows are kept: a
message is sent only when its stream and the connection have room for all of it (`room`), as one DATA
frame.

Bounds: what is to be sent waits here until the socket takes it; the caller asks `is_congested`, true
from OUT_BYTES_MAX on, and writes no more then. What comes is bounded by the windows we grant, which are
as wide as the protocol allows: a generator that reads late must not be what holds a service back.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

from bench._frames import header_block, messages, split
from mesh.http2 import frames as f

OUT_BYTES_MAX = 256 * 1024
_READ_BYTES = 1024 * 1024


class H2Error(Exception):
    """The peer ended the connection or a stream; says what it sent."""


class RawConnection:
    """Streams are numbered 0, 1, 2, ... in the order they were opened."""

    def __init__(self, host: str, port: int, path: str, source: str = "") -> None:
        """`source`: the address to come from. Raises OSError."""
        self.socket = socket.create_connection((host, port), 5.0, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.sent_bytes = 0
        self.widened: list[int] = []
        """Streams whose window grew since the caller emptied this."""
        self.ended: dict[int, str] = {}
        """Streams that the peer ended, with the text in its trailers."""
        self._block = header_block(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", f"{host}:{port}"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "grandstand-bench"),
            ]
        )
        self._window = f.WINDOW_DEFAULT
        self._windows: list[int] = []
        self._initial_window = f.WINDOW_DEFAULT
        self._granted = f.WINDOW_MAX
        self._partial: dict[int, bytes] = {}
        self._rest = b""
        self._out: list[bytes] = [
            f.PREFACE,
            f.settings({f.HEADER_TABLE_SIZE: 0, f.ENABLE_PUSH: 0, f.INITIAL_WINDOW_SIZE: f.WINDOW_MAX}),
            f.window_update(0, f.WINDOW_MAX - f.WINDOW_DEFAULT),
        ]
        self._out_bytes = 0

    @property
    def streams(self) -> int:
        return len(self._windows)

    @property
    def is_congested(self) -> bool:
        return self._out_bytes >= OUT_BYTES_MAX

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def open(self, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """A new stream; its request headers leave with the next flush."""
        stream = len(self._windows)
        self._windows.append(self._initial_window)
        block = self._block + header_block(metadata)
        self._out.append(f.frame(f.HEADERS, f.END_HEADERS, 2 * stream + 1, block))
        return stream

    def room(self, stream: int) -> int:
        """How many bytes of DATA may be sent now."""
        return min(self._window, self._windows[stream])

    def send(self, stream: int, data: bytes) -> None:
        """A gRPC message (see `_frames.message`) for which there is room."""
        length = len(data)
        self._window -= length
        self._windows[stream] -= length
        self._out_bytes += length
        self._out.append(f.frame(f.DATA, 0, 2 * stream + 1, data))

    def half_close(self, stream: int) -> None:
        self._out.append(f.frame(f.DATA, f.END_STREAM, 2 * stream + 1))

    def flush(self) -> bool:
        """Sends what the socket takes; True when nothing is left."""
        if not self._out:
            return True
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            taken = self.socket.send(data)
        except BlockingIOError:
            taken = 0
        self.sent_bytes += taken
        self._out = [data[taken:]] if taken < len(data) else []
        self._out_bytes = len(data) - taken
        return not self._out

    def receive(self) -> list[tuple[int, bytes]]:
        """Messages that came, with their streams, in order. Raises H2Error."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise H2Error("the service closed the connection")
        buffer = self._rest + data if self._rest else data
        found: list[tuple[int, bytes]] = []
        end = 0
        for kind, flags, stream, begin, end in split(buffer):
            if kind == f.WINDOW_UPDATE:
                by = int.from_bytes(buffer[begin:end], "big")
                if stream:
                    self._windows[stream >> 1] += by
                    self.widened.append(stream >> 1)
                else:
                    self._window += by
            elif kind == f.DATA:
                if end > begin:
                    self._take(stream >> 1, buffer[begin:end], flags, found)
            elif kind != f.HEADERS or flags & f.END_STREAM:
                self._control(kind, flags, stream, buffer[begin:end])
        self._rest = buffer[end:]
        self._granted -= len(data)
        if self._granted < f.WINDOW_MAX // 2:
            self._out.append(f.window_update(0, f.WINDOW_MAX - self._granted))
            self._granted = f.WINDOW_MAX
        return found

    def _take(self, stream: int, data: bytes, flags: int, found: list[tuple[int, bytes]]) -> None:
        if flags & f.PADDED:
            data = data[1 : len(data) - data[0]]
        if self._partial:
            data = self._partial.pop(stream, b"") + data
        if int.from_bytes(data[:5], "big") == len(data) - 5:
            found.append((stream, data[5:]))
            return
        whole, rest = messages(data)
        found.extend((stream, each) for each in whole)
        if rest:
            self._partial[stream] = rest

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == f.SETTINGS and not flags & f.ACK:
            self._apply(dict(f.read_settings(payload)))
            self._out.append(f.frame(f.SETTINGS, f.ACK, 0))
        elif kind == f.PING and not flags & f.ACK:
            self._out.append(f.frame(f.PING, f.ACK, 0, payload))
        elif kind == f.GOAWAY:
            raise H2Error(f"GOAWAY: code {int.from_bytes(payload[4:8], 'big')} {_text_in(payload[8:])}")
        elif kind == f.RST_STREAM:
            # After trailers it says nothing new.
            self.ended.setdefault(stream >> 1, f"RST_STREAM {int.from_bytes(payload, 'big')}")
        elif kind == f.HEADERS:
            self.ended[stream >> 1] = _text_in(payload)

    def _apply(self, values: dict[int, int]) -> None:
        if f.INITIAL_WINDOW_SIZE in values:
            grown = values[f.INITIAL_WINDOW_SIZE] - self._initial_window
            self._initial_window += grown
            self._windows = [window + grown for window in self._windows]
            self.widened.extend(range(len(self._windows)))

    def close(self) -> None:
        self.socket.close()


def _text_in(data: bytes) -> str:
    """The readable runs in a header block; enough for an error that a person reads."""
    return " ".join(run.decode() for run in re.findall(rb"[ -~]{4,}", data))
