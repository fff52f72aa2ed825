"""What a connection has to write, and how much of it the peer and the transport allow now. Pure.

One number, `room`, says how many bytes of DATA may still leave before the next flush: the least of the
connection's window, FLUSH_BYTES_MAX, and nothing at all while the transport is full. So a call that sends
checks two numbers, its own window and this.

Streams with bytes waiting and a window of their own stand in one queue and write a frame each in turn. Who
sends to many streams at once (mesh.http2.broadcast_group) asks to be told when there is room again.

Bounds: FLUSH_BYTES_MAX of DATA a turn; what else is put here (answers to PING and SETTINGS, resets, windows)
answers what was read, and nothing is read while the transport is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from mesh.http2 import bounds
from mesh.http2.errors import ConnectionBroken
from mesh.http2.frames import FLOW_CONTROL_ERROR, WINDOW_DEFAULT, WINDOW_MAX


class Sender(Protocol):
    """A stream, as the queue sees it."""

    is_queued: bool

    def write_waiting(self) -> bool:
        """Writes one frame if there is room; whether it could write another."""


class Outbox:
    __slots__ = (
        "_asked",
        "_granted",
        "_is_full",
        "_least_asked",
        "_on_waiting",
        "_queue",
        "_turn_left",
        "_window",
        "is_awake",
        "parts",
        "room",
    )

    def __init__(self, on_waiting: Callable[[], None]) -> None:
        """`on_waiting` is called once after each `take` when there is something to write."""
        self.parts: list[bytes | memoryview] = []
        self.room = 0
        self.is_awake = False
        self._on_waiting = on_waiting
        self._window = WINDOW_DEFAULT
        self._turn_left = bounds.FLUSH_BYTES_MAX
        self._granted = 0
        self._is_full = False
        self._queue: deque[Sender] = deque()
        self._asked: dict[Callable[[], None], None] = {}
        """In the order they asked."""
        self._least_asked = 0
        self._grant()

    def put(self, data: bytes | memoryview) -> None:
        """Whole frames."""
        self.parts.append(data)
        if not self.is_awake:
            self.wake()

    def put_data(self, data: memoryview, counted: int) -> None:
        """Whole DATA frames of `counted` bytes without their heads, for which there is room."""
        self.room -= counted
        self.put(data)

    def when_room(self, size: int, callback: Callable[[], None]) -> None:
        """Calls `callback` once there is room for `size` bytes; once, however often it is asked for."""
        self._least_asked = min(size, self._least_asked) if self._asked else size
        self._asked[callback] = None

    def wake(self) -> None:
        self.is_awake = True
        self._on_waiting()

    def take(self) -> bytes | memoryview:
        """All there is to write now; follow it with `flushed`."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.is_awake = False
        return data

    def flushed(self) -> None:
        """The transport took it: there is room again, unless `full` was called."""
        self._book()
        self._turn_left = bounds.FLUSH_BYTES_MAX
        self._grant()
        self.pump()

    def full(self) -> None:
        self._is_full = True
        self._grant()

    def has_room(self) -> None:
        self._is_full = False
        self._grant()
        self.pump()

    def widen(self, by: int) -> None:
        """The peer's WINDOW_UPDATE for the connection. Raises ConnectionBroken."""
        self._book()
        if self._window + by > WINDOW_MAX:
            raise ConnectionBroken(FLOW_CONTROL_ERROR, "the connection's window grew beyond 2^31 - 1")
        self._window += by
        self._grant()
        self.pump()

    def _book(self) -> None:
        """Takes what was sent since the last time off both bounds."""
        sent = self._granted - self.room
        self._granted = self.room
        self._window -= sent
        self._turn_left -= sent

    def _grant(self) -> None:
        self._book()
        self.room = self._granted = 0 if self._is_full else min(self._window, self._turn_left)

    def line_up(self, stream: Sender) -> None:
        """`stream` has bytes waiting and a window for some of them."""
        if not stream.is_queued:
            stream.is_queued = True
            self._queue.append(stream)
        self.pump()

    def pump(self) -> None:
        queue = self._queue
        while queue and self.room > 0:
            stream = queue.popleft()
            stream.is_queued = False
            if stream.write_waiting() and not stream.is_queued:
                stream.is_queued = True
                queue.append(stream)
        if self._asked and self.room >= self._least_asked:
            asked, self._asked = self._asked, {}
            for callback in asked:
                callback()
        if self.parts and not self.is_awake:
            self.wake()
