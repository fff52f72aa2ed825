"""One HTTP/2 connection of an attacker: as many streams as it likes, for as little CPU as can be.

Header blocks are literals that are never indexed (`bench._frames`), so one encoded block serves every stream.
We announce a header table of size 0: the peer's blocks then depend on nothing before them, and what one said
is remembered. Windows of DATA that we send are not kept: what an attacker sends is small, or to be refused.

Bounds: what the peer does not take of OUT_BYTES_MAX waits here; the caller asks `is_congested`. STATUSES_MAX
header blocks are remembered.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable

import hpack

from bench._frames import split
from mesh.http2 import frames as f

OUT_BYTES_MAX = 256 * 1024
STATUSES_MAX = 4_096
_READ_BYTES = 256 * 1024
# linux/in.h; not in Python's socket module. The port is chosen when it connects: 28,000 for each address.
_IP_BIND_ADDRESS_NO_PORT = 24
_STARTING = (0, errno.EINPROGRESS)

_statuses: dict[bytes, str] = {}

Address = tuple[str, int]


def connected(at: Address, source: str) -> socket.socket:
    """A socket that connects or has done so, from the address `source`. Raises OSError."""
    made = socket.socket()
    try:
        made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((source, 0))
        made.setblocking(False)
        if (code := made.connect_ex(at)) not in _STARTING:
            raise OSError(code, errno.errorcode.get(code, "connect"))
    except OSError:
        made.close()
        raise
    return made


class AttackLine:
    """`on_end(stream, status)`: a stream is over; the status is the gRPC code, "http NNN" or "reset N".
    `on_data(stream, data)`: DATA came; None if nobody asks."""

    def __init__(
        self,
        at: Address,
        source: str,
        on_end: Callable[[AttackLine, int, str], None],
        on_data: Callable[[AttackLine, int, bytes], None] | None = None,
        *,
        is_wide: bool = True,
    ) -> None:
        """`is_wide`: the peer may send as much as it likes; else it has the first windows of HTTP/2, which
        can grow. Raises OSError."""
        self.socket = connected(at, source)
        self.open: set[int] = set()
        """Streams that neither side has ended."""
        self.over = ""
        """Why the connection is no good any more; "" while it is."""
        self.opened = 0
        self._on_end = on_end
        self._on_data = on_data
        self._next = 1
        self._rest = b""
        settings = {f.HEADER_TABLE_SIZE: 0, f.ENABLE_PUSH: 0}
        if is_wide:
            settings[f.INITIAL_WINDOW_SIZE] = f.WINDOW_MAX
        self._out = bytearray(f.PREFACE + f.settings(settings))
        if is_wide:
            self._out += f.window_update(0, f.WINDOW_MAX - f.WINDOW_DEFAULT)

    @property
    def is_congested(self) -> bool:
        return len(self._out) >= OUT_BYTES_MAX

    def start(self, block: bytes, message: bytes | None = None, *, is_last: bool = False) -> int:
        """A new stream with these headers and perhaps a message; `is_last`: our side ends with it, or with
        the headers if it is empty."""
        stream = self._next
        self._next += 2
        self.opened += 1
        self.open.add(stream)
        ends = f.END_STREAM if message == b"" and is_last else 0
        self._out += f.frame(f.HEADERS, f.END_HEADERS | ends, stream, block)
        if message:
            self._out += f.frame(f.DATA, f.END_STREAM if is_last else 0, stream, message)
        return stream

    def say(self, data: bytes) -> None:
        """Frames of the caller's own."""
        self._out += data

    def flush(self) -> None:
        if not self._out or self.over:
            return
        try:
            taken = self.socket.send(self._out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # it connects yet
                self.end(error.strerror or "an error")
            return
        del self._out[:taken]

    def receive(self) -> None:
        """Reads what has come, and answers SETTINGS and PING."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.end(error.strerror or "an error")
            return
        if not data:
            self.end("closed")
            return
        buffer = self._rest + data if self._rest else data
        end = 0
        for kind, flags, stream, begin, end in split(buffer):
            if kind == f.HEADERS:
                if flags & f.END_STREAM and stream in self.open:
                    self._ended(stream, _status_in(buffer[begin:end]))
            elif kind == f.RST_STREAM:
                if stream in self.open:
                    self._ended(stream, f"reset {int.from_bytes(buffer[begin:end], 'big')}")
            elif kind == f.DATA:
                if self._on_data is not None and end > begin:
                    self._on_data(self, stream, buffer[begin:end])
                if flags & f.END_STREAM and stream in self.open:
                    self._ended(stream, "ended")
            elif kind in (f.SETTINGS, f.PING) and not flags & f.ACK:
                self._out += f.frame(kind, f.ACK, 0, buffer[begin:end] if kind == f.PING else b"")
            elif kind == f.GOAWAY:
                self.end(f"GOAWAY {int.from_bytes(buffer[begin + 4 : begin + 8], 'big')}")
                return
        self._rest = buffer[end:]

    def end(self, why: str) -> None:
        """Closes it; its streams are over."""
        if self.over:
            return
        self.over = why
        self.socket.close()
        for stream in tuple(self.open):
            self._ended(stream, f"connection: {why}")

    def _ended(self, stream: int, status: str) -> None:
        self.open.discard(stream)
        self._on_end(self, stream, status)


def _status_in(block: bytes) -> str:
    found = _statuses.get(block)
    if found is None:
        if len(_statuses) >= STATUSES_MAX:
            _statuses.clear()
        fields: dict[str, str] = {}
        with contextlib.suppress(hpack.HPACKError):
            fields = {str(name): str(value) for name, value in hpack.Decoder().decode(block)}
        found = fields.get("grpc-status") or f"http {fields.get(':status', '?')}"
        _statuses[block] = found
    return found
