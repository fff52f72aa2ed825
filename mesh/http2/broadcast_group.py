"""Calls that are sent the same messages: one buffer for a connection, whatever the number of its calls. Pure.

Envoy multiplexes thousands of viewers over one connection. What is the same for all of them is encoded once;
what differs between their DATA frames is four octets, the stream's id. So the streams of a connection lie in
arrays, and numpy writes one buffer with a frame for each.

A call with a seat has a position, which says what it was sent of some sequence; `advance` sends to those in a
range of positions. Beside it there is a second sequence, `tell` (announcements), and a clock, `remind`
(heartbeats): for those only whose position is not negative, which means that they were not sent anything yet.

The window of a seated stream lies in the array while nothing waits for it, and with the stream while
something does (its row then says 0, and nothing is sent over its head). A stream without any window is left
where it is: it costs nothing, and `on_room` is called once it can be sent something again. A stream whose
window is narrower than the message is sent it in pieces, as is every one when the message is longer than one
frame; what waits is one message that all of them share.

Bounds: the connection's room (mesh.http2.write_buffer) is kept; who did not fit waits for the next turn.

Rejected: a loop over calls, 0.3 µs each where this takes 0.05; keeping the buffer for the next tick (nothing
is saved but the allocation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mesh.http2 import bounds, frames
from mesh.http2.call import Call
from mesh.http2.write_buffer import WriteBuffer

Chosen = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""From stream ids: which of them."""

_FIRST_ROWS = 4
_ID_AT = 5


class Shared:
    """One gRPC message for many calls, encoded once."""

    __slots__ = ("frame", "framed", "size")

    def __init__(self, message: bytes) -> None:
        self.framed = frames.PREFIX.pack(0, len(message)) + message
        """With the prefix of gRPC."""
        self.size = len(self.framed)
        """What it takes of a window."""
        self.frame: NDArray[np.uint8] | None = None
        """The DATA frame of stream 0; None if it takes more than one."""
        if self.size <= bounds.FRAME_BYTES_MAX:
            self.frame = np.frombuffer(frames.frame(frames.DATA, 0, 0, self.framed), np.uint8)


class Member(Protocol):
    """A stream, as its group sees it (mesh.http2.stream)."""

    id: int
    write_buffer: WriteBuffer
    row: int
    """Where its window lies in the arrays of the ConnectionMembers."""

    def join(self, members: ConnectionMembers, row: int) -> None:
        """Moves its window to `row`, unless something waits to be sent."""

    def send_shared(self, message: Shared) -> None:
        """Sends it in pieces, as the windows allow. Nothing waits before it."""


class Roster:
    """`on_room` is called when calls that were left out might be sent something now, perhaps often: it
    schedules, and sends nothing itself."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._on_room = on_room
        self._rows: dict[WriteBuffer, ConnectionMembers] = {}

    def __len__(self) -> int:
        return sum(rows.count for rows in self._rows.values())

    def seat(self, call: Call, position: int, told: int, now: float) -> None:
        """`call` is one of the server's, and has said nothing or stands between two messages. Its seat is
        free again when it ends or goes."""
        stream = cast(Member, call)
        rows = self._rows.get(stream.write_buffer)
        if rows is None:
            rows = self._rows[stream.write_buffer] = ConnectionMembers(
                stream.write_buffer, self._on_room, self._vacant
            )
        stream.join(rows, rows.add(stream, position, told, now))

    def advance(self, message: Shared, since: int, before: int, to: int, now: float) -> int:
        """Sends to those at `since` <= position < `before`, and puts them at `to`; how many."""
        return sum(rows.advance(message, since, before, to, now) for rows in list(self._rows.values()))

    def waits(self, since: int, before: int) -> bool:
        """Whether somebody is in that range and has a window."""
        return any(rows.waits(since, before) for rows in self._rows.values())

    def move(self, at: int, to: int) -> None:
        """Those at position `at` are at `to`; nothing is sent."""
        for rows in self._rows.values():
            positions = rows.positions[: rows.count]
            positions[positions == at] = to

    def tell(self, message: Shared, number: int, now: float) -> int:
        """Sends to those who were told up to `number` - 1; how many."""
        return sum(rows.tell(message, number, now) for rows in list(self._rows.values()))

    def has_untold(self, newest: int) -> bool:
        """Whether somebody was not told of `newest`."""
        return any((rows.told[: rows.count] < newest).any() for rows in self._rows.values())

    def forget_told(self, below: int) -> None:
        """What comes before `below` is not told any more to those who missed it."""
        for rows in self._rows.values():
            np.maximum(rows.told[: rows.count], below - 1, out=rows.told[: rows.count])

    def remind(self, message: Shared, before: float, now: float) -> int:
        """Sends to those who were sent nothing since `before`; how many."""
        return sum(rows.remind(message, before, now) for rows in list(self._rows.values()))

    def send(self, message: Shared, chosen: Chosen, now: float) -> int:
        """Sends to those whose stream ids are `chosen`; how many. Who has no room misses it."""
        return sum(
            rows.deliver(message, chosen(rows.stream_ids()), now).size for rows in list(self._rows.values())
        )

    def calls(self, chosen: Chosen) -> list[Call]:
        """Those whose stream ids are `chosen`, at this moment."""
        return [
            cast(Call, rows.streams[row])
            for rows in self._rows.values()
            for row in np.flatnonzero(chosen(rows.stream_ids())).tolist()
        ]

    def position(self, call: Call) -> int:
        """Of a call that has its seat here."""
        stream = cast(Member, call)
        return int(self._rows[stream.write_buffer].positions[stream.row])

    def _vacant(self, write_buffer: WriteBuffer) -> None:
        del self._rows[write_buffer]


class ConnectionMembers:
    """The calls of one connection. Only the first `count` rows of an array mean something."""

    def __init__(
        self, write_buffer: WriteBuffer, on_room: Callable[[], None], on_vacant: Callable[[WriteBuffer], None]
    ) -> None:
        self.count = 0
        self.streams: list[Member] = []
        self.ids = np.zeros((_FIRST_ROWS, 4), np.uint8)
        """As they stand in a frame, big-endian."""
        self.windows = np.zeros(_FIRST_ROWS, np.int64)
        self.positions = np.zeros(_FIRST_ROWS, np.int64)
        self.told = np.zeros(_FIRST_ROWS, np.int64)
        self.spoke_at = np.zeros(_FIRST_ROWS, np.float64)
        self.left_out = np.zeros(_FIRST_ROWS, np.bool_)
        """Without a window when there was something to send."""
        self.on_room = on_room
        self._write_buffer = write_buffer
        self._on_vacant = on_vacant

    def add(self, stream: Member, position: int, told: int, now: float) -> int:
        """The row of `stream`."""
        row = self.count
        if row == len(self.windows):
            self._grow()
        self.count += 1
        self.streams.append(stream)
        self.ids[row] = np.frombuffer(stream.id.to_bytes(4, "big"), np.uint8)
        self.windows[row] = 0
        self.positions[row] = position
        self.told[row] = told
        self.spoke_at[row] = now
        self.left_out[row] = False
        return row

    def _grow(self) -> None:
        for name in ("ids", "windows", "positions", "told", "spoke_at", "left_out"):
            column = getattr(self, name)
            wider = np.zeros((2 * len(column), *column.shape[1:]), column.dtype)
            wider[: len(column)] = column
            setattr(self, name, wider)

    def remove(self, row: int) -> None:
        """The last row takes its place."""
        self.count -= 1
        last = self.count
        stream = self.streams.pop()
        if row != last:
            self.streams[row] = stream
            stream.row = row
            for column in (self.ids, self.windows, self.positions, self.told, self.spoke_at, self.left_out):
                column[row] = column[last]
        if last == 0:
            self._on_vacant(self._write_buffer)

    def set_window(self, row: int, window: int) -> None:
        """The peer has changed it."""
        self.windows[row] = window
        if window > 0 and self.left_out[row]:
            self.left_out[row] = False
            self.on_room()

    def stream_ids(self) -> NDArray[np.int64]:
        return self.ids[: self.count].view(">u4").reshape(-1).astype(np.int64)

    def advance(self, message: Shared, since: int, before: int, to: int, now: float) -> int:
        rows = self.deliver(message, self._between(since, before), now)
        self.positions[rows] = to
        return rows.size

    def waits(self, since: int, before: int) -> bool:
        return bool((self._between(since, before) & (self.windows[: self.count] > 0)).any())

    def _between(self, since: int, before: int) -> NDArray[np.bool_]:
        positions = self.positions[: self.count]
        return (positions >= since) & (positions < before)

    def tell(self, message: Shared, number: int, now: float) -> int:
        rows = self.deliver(message, (self.told[: self.count] == number - 1) & self._begun(), now)
        self.told[rows] = number
        return rows.size

    def remind(self, message: Shared, before: float, now: float) -> int:
        return self.deliver(message, (self.spoke_at[: self.count] < before) & self._begun(), now).size

    def _begun(self) -> NDArray[np.bool_]:
        return self.positions[: self.count] >= 0

    def deliver(self, message: Shared, chosen: NDArray[np.bool_], now: float) -> NDArray[np.intp]:
        """Sends to the `chosen` rows, as far as there is room; which rows that were."""
        wanted = np.flatnonzero(chosen)
        if not wanted.size:
            return wanted
        windows = self.windows[wanted]
        frame = message.frame
        if frame is None:
            return self._in_pieces(message, wanted[windows > 0], wanted[windows <= 0], now)
        size = message.size
        rows = wanted[windows >= size]
        fit = max(self._write_buffer.available_bytes, 0) // size
        if rows.size > fit:
            rows = rows[:fit]
            self._write_buffer.when_available(size, self.on_room)
        if rows.size:
            buffer = np.empty((rows.size, frame.size), np.uint8)
            buffer[:] = frame
            buffer[:, _ID_AT : _ID_AT + 4] = self.ids[rows]
            self.windows[rows] -= size
            self.spoke_at[rows] = now
            self._write_buffer.put_data(buffer.reshape(-1).data, size * int(rows.size))
        narrow = windows < size
        if narrow.any():
            wanted, windows = wanted[narrow], windows[narrow]
            pieces = self._in_pieces(message, wanted[windows > 0], wanted[windows <= 0], now)
            rows = np.concatenate((rows, pieces))
        return rows

    def _in_pieces(
        self, message: Shared, rows: NDArray[np.intp], closed: NDArray[np.intp], now: float
    ) -> NDArray[np.intp]:
        self.left_out[closed] = True
        self.spoke_at[rows] = now
        for row in rows.tolist():
            self.streams[row].send_shared(message)
        return rows
