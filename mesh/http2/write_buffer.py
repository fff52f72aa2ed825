"""Bytes a connection has to write, and how many more the peer and the transport allow now. Pure.

`available_bytes` says how many bytes of DATA may still be written before the next flush: the minimum of the
connection's flow-control window and what is left of FLUSH_BYTES_MAX, and 0 while the transport is full. So a
call that sends compares its message with two numbers, its own window and this one.

The first header block of a connection sets our dynamic table's size to 0 (RFC 7541, 6.3), as our blocks use
none (mesh.http2.headers). A peer whose SETTINGS reduce HEADER_TABLE_SIZE requires an update (RFC 9113,
4.3.1); any other accepts it.

Streams that have unsent bytes and an open window stand in one queue and write one frame each in turn. A
broadcast group (mesh.http2.broadcast_group) asks to be called when bytes are available again.

Bounds: FLUSH_BYTES_MAX of DATA per flush. Everything else put here (replies to PING and SETTINGS, resets,
WINDOW_UPDATE) is caused by what was read, and nothing is read while the transport is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from mesh.http2 import bounds, frames
from mesh.http2.errors import ConnectionBroken
from mesh.http2.frames import FLOW_CONTROL_ERROR, WINDOW_DEFAULT, WINDOW_MAX

_NO_TABLE = b"\x20"
"""A dynamic table size update to 0."""


class QueuedStream(Protocol):
    """A stream with unsent bytes."""

    is_queued: bool

    def write_frame(self) -> bool:
        """Writes one frame if the windows allow; returns whether it could write another."""


class WriteBuffer:
    __slots__ = (
        "_available_before",
        "_callbacks",
        "_data_bytes",
        "_flush_left",
        "_has_sent_headers",
        "_is_paused",
        "_on_output",
        "_queue",
        "_smallest_request",
        "_window",
        "available_bytes",
        "is_flush_scheduled",
        "parts",
    )

    def __init__(self, on_output: Callable[[], None]) -> None:
        """`on_output` is called once after each `take` when there is something to write."""
        self.parts: list[bytes | memoryview] = []
        self.available_bytes = 0
        self.is_flush_scheduled = False
        self._on_output = on_output
        self._window = WINDOW_DEFAULT
        self._flush_left = bounds.FLUSH_BYTES_MAX
        self._data_bytes = 0
        self._has_sent_headers = False
        self._available_before = 0
        """`available_bytes` when it was last deducted from the window."""
        self._is_paused = False
        self._queue: deque[QueuedStream] = deque()
        self._callbacks: dict[Callable[[], None], None] = {}
        """Of `when_available`, in the order of the calls."""
        self._smallest_request = 0
        self._update_available()

    def put(self, data: bytes | memoryview) -> None:
        """Whole frames."""
        self.parts.append(data)
        if not self.is_flush_scheduled:
            self.schedule_flush()

    def put_headers(self, stream: int, block: bytes, *, end_stream: bool) -> None:
        if not self._has_sent_headers:
            self._has_sent_headers = True
            block = _NO_TABLE + block
        self.put(frames.header_block(stream, block, end_stream, bounds.FRAME_BYTES_MAX))

    def put_data(self, data: memoryview, counted: int) -> None:
        """Whole DATA frames; `counted`: their bytes without frame headers, at most `available_bytes`."""
        self.available_bytes -= counted
        self.put(data)

    def when_available(self, size: int, callback: Callable[[], None]) -> None:
        """Calls `callback` once when `size` bytes are available, however often it was asked for."""
        self._smallest_request = min(size, self._smallest_request) if self._callbacks else size
        self._callbacks[callback] = None

    def schedule_flush(self) -> None:
        self.is_flush_scheduled = True
        self._on_output()

    def take(self) -> bytes | memoryview:
        """Everything to be written now. The caller must call `flushed` afterwards."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.is_flush_scheduled = False
        return data

    def flushed(self) -> None:
        """The transport has taken the data of `take`; the bound for one flush starts again."""
        self._deduct_sent()
        self._flush_left = bounds.FLUSH_BYTES_MAX
        self._update_available()
        self.write_queued()

    def pause(self) -> None:
        """The transport is full."""
        self._is_paused = True
        self._update_available()

    def resume(self) -> None:
        """The transport accepts data again."""
        self._is_paused = False
        self._update_available()
        self.write_queued()

    def increase_window(self, increment: int) -> None:
        """The peer's WINDOW_UPDATE for the connection. Raises ConnectionBroken."""
        self._deduct_sent()
        if self._window + increment > WINDOW_MAX:
            raise ConnectionBroken(FLOW_CONTROL_ERROR, "the connection's window grew beyond 2^31 - 1")
        self._window += increment
        self._update_available()
        self.write_queued()

    @property
    def data_bytes(self) -> int:
        """Bytes of DATA sent since the start."""
        return self._data_bytes + self._available_before - self.available_bytes

    def _deduct_sent(self) -> None:
        """From the window and from the bound of this flush."""
        sent = self._available_before - self.available_bytes
        self._available_before = self.available_bytes
        self._window -= sent
        self._flush_left -= sent
        self._data_bytes += sent

    def _update_available(self) -> None:
        self._deduct_sent()
        available = 0 if self._is_paused else min(self._window, self._flush_left)
        self.available_bytes = self._available_before = available

    def enqueue(self, stream: QueuedStream) -> None:
        """`stream` has unsent bytes and its window is open."""
        if not stream.is_queued:
            stream.is_queued = True
            self._queue.append(stream)
        self.write_queued()

    def write_queued(self) -> None:
        queue = self._queue
        while queue and self.available_bytes > 0:
            stream = queue.popleft()
            stream.is_queued = False
            if stream.write_frame() and not stream.is_queued:
                stream.is_queued = True
                queue.append(stream)
        if self._callbacks and self.available_bytes >= self._smallest_request:
            callbacks, self._callbacks = self._callbacks, {}
            for callback in callbacks:
                callback()
        if self.parts and not self.is_flush_scheduled:
            self.schedule_flush()
