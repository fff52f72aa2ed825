"""The sending half of a stream: what leaves at once, what waits for a window, and its seat in a roster. Pure.

A message leaves at once if it fits one frame and both windows and nothing is before it; otherwise it waits in
`_waiting`, and leaves in frames as the windows open. Policy: `is_writable` tells the handler from
SEND_BUFFER_BYTES_MAX on, and SEND_WAITING_BYTES_MAX ends the call. What is left of a message that many calls
are sent (mesh.http2.broadcast_group) is `_shared`, and goes before that. While a call has a seat there and
nothing waits, its window lies in the roster's array, and `send_window` means nothing.
"""

from __future__ import annotations

from abc import abstractmethod

from mesh.http2 import bounds, frames, headers
from mesh.http2.broadcast_group import Rows, Shared
from mesh.http2.errors import RESOURCE_EXHAUSTED, Cause, StreamBroken
from mesh.http2.incoming import Home, Incoming


class Outgoing(Incoming):
    """What a stream is to who writes."""

    __slots__ = (
        "_ending",
        "_has_said_headers",
        "_rows",
        "_shared",
        "_waiting",
        "_wants_room",
        "_was_full",
        "is_queued",
        "row",
        "send_window",
    )

    def __init__(self, number: int, home: Home, send_window: int) -> None:
        super().__init__(number, home)
        self.send_window = send_window
        self.is_queued = False
        self.row = 0
        self._rows: Rows | None = None
        self._shared: memoryview | None = None
        self._waiting: bytearray | None = None
        self._wants_room = False
        self._was_full = False
        self._has_said_headers = False
        self._ending: bytes | None = None

    @abstractmethod
    def finish(self, block: bytes) -> None:
        """The trailers, and the stream is closed: mesh.http2.stream."""

    @property
    def waits(self) -> bool:
        """Whether anything is still to leave before what is sent next."""
        return self._waiting is not None or self._shared is not None

    @property
    def is_writable(self) -> bool:
        return self._waiting is None or len(self._waiting) <= bounds.SEND_BUFFER_BYTES_MAX

    def send(self, message: bytes) -> None:
        if self.is_ended:
            return
        outbox = self.outbox
        length = len(message)
        size = length + frames.PREFIX_BYTES
        if not self._has_said_headers:
            self._say_headers()
        rows = self._rows
        if rows is not None:
            self._take_window(rows)
        if (
            self._waiting is not None
            or self._shared is not None
            or size > self.send_window
            or size > outbox.room
            or size > bounds.FRAME_BYTES_MAX
        ):
            self._send_later(message)
            return
        self.send_window -= size
        outbox.room -= size
        outbox.parts.append(
            frames.HEAD_AND_PREFIX.pack(size >> 8, size & 0xFF, 0, 0, self.id, 0, length) + message
        )
        if not outbox.is_awake:
            outbox.wake()
        if rows is not None:
            self._give_window(rows)

    def try_send(self, message: bytes) -> bool:
        if self.is_ended:
            return True
        rows = self._rows
        window = self.send_window if rows is None else int(rows.windows[self.row])
        if self.waits or window <= 0:
            self._wants_room = True
            return False
        needed = min(len(message) + frames.PREFIX_BYTES, window, bounds.FRAME_BYTES_MAX)
        if needed > self.outbox.room:
            self._wants_room = True
            self.outbox.when_room(needed, self._there_is_room)
            return False
        self.send(message)
        return True

    def send_shared(self, message: Shared) -> None:
        """In pieces, to a call with a seat for which nothing waits."""
        rows = self._rows
        assert rows is not None
        self._take_window(rows)
        self._shared = memoryview(message.framed)
        self.outbox.line_up(self)

    def take_seat(self, rows: Rows, row: int) -> None:
        """What is the same for many is sent from there."""
        if not self._has_said_headers:
            self._say_headers()
        self._rows = rows
        self.row = row
        if not self.waits:
            self._give_window(rows)

    def leave_seat(self) -> None:
        """Nothing is sent from there any more; idempotent."""
        rows = self._rows
        if rows is not None:
            self._take_window(rows)
            self._rows = None
            rows.remove(self.row)

    def _take_window(self, rows: Rows) -> None:
        """From the array, unless it is here."""
        if not self.waits:
            self.send_window = int(rows.windows[self.row])
            rows.windows[self.row] = 0

    def _give_window(self, rows: Rows) -> None:
        """To the array: nothing waits."""
        rows.windows[self.row] = self.send_window

    def _send_later(self, message: bytes) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = bytearray()
        waiting += frames.PREFIX.pack(0, len(message))
        waiting += message
        if len(waiting) > bounds.SEND_WAITING_BYTES_MAX:
            self.is_ended = True
            # Not from within `send`: the handler is in the middle of something.
            self._home.soon(self._overflowed)
            return
        if self.send_window > 0:
            self.outbox.line_up(self)
        self._was_full = not self.is_writable

    def _overflowed(self) -> None:
        self.fail(
            RESOURCE_EXHAUSTED,
            f"{bounds.SEND_WAITING_BYTES_MAX} bytes wait for this call's client, the most that may; "
            "read faster, or give a wider window",
            Cause.UNREAD,
        )

    def _say_headers(self) -> None:
        self._has_said_headers = True
        block = headers.RESPONSE_HEADERS
        self.outbox.put(frames.header_block(self.id, block, False, bounds.FRAME_BYTES_MAX))

    def write_waiting(self) -> bool:
        waits = self._shared if self._shared is not None else self._waiting
        outbox = self.outbox
        if waits is None:
            return False
        size = min(len(waits), self.send_window, outbox.room, bounds.FRAME_BYTES_MAX)
        if size <= 0:
            return False
        outbox.parts.append(frames.frame(frames.DATA, 0, self.id, bytes(waits[:size])))
        self.send_window -= size
        outbox.room -= size
        if self._shared is not None:
            self._shared = self._shared[size:] if size < len(waits) else None
        else:
            assert self._waiting is not None
            del self._waiting[:size]
            if not self._waiting:
                self._waiting = None
        if not self.waits:
            if self._ending is not None:
                self.finish(self._ending)
                return False
            if self._rows is not None:
                self._give_window(self._rows)
                self._rows.on_room()
        if self._was_full and self.is_writable:
            self._was_full = False
            # Not now: a handler that sends at once would be one deep recursion with the others that wait.
            self._home.soon(self._tell_writable)
        self._there_is_room()
        return self.waits and self.send_window > 0

    def _there_is_room(self) -> None:
        """Tells the handler if it wants to know; not now, as the server may be in the middle of something."""
        if self._wants_room and not self.waits:
            self._wants_room = False
            self._home.soon(self._tell_writable)

    def _tell_writable(self) -> None:
        if not self.is_ended and self.handler is not None:
            try:
                self.handler.writable()
            except Exception:
                self.broke()

    def widen(self, by: int) -> None:
        """The peer's WINDOW_UPDATE, or its new INITIAL_WINDOW_SIZE (then `by` may be negative). Raises
        StreamBroken."""
        waits = self.waits
        rows = None if waits else self._rows
        window = by + (self.send_window if rows is None else int(rows.windows[self.row]))
        if window > frames.WINDOW_MAX:
            raise StreamBroken(frames.FLOW_CONTROL_ERROR, "the stream's window grew beyond 2^31 - 1")
        if rows is not None:
            rows.windows[self.row] = window
            if window > 0:
                if rows.left_out[self.row]:
                    rows.left_out[self.row] = False
                    rows.on_room()
                self._there_is_room()
            return
        self.send_window = window
        if window > 0:
            if waits:
                self.outbox.line_up(self)
            else:
                self._there_is_room()
