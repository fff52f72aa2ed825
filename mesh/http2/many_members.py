"""The members of a broadcast group on one connection, in arrays: numpy writes one buffer for all. Pure.

For more than FEW_MAX; below that the plain loop of mesh.http2.few_members costs less.

Rejected: keeping the buffer for the next tick, which saves only the allocation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mesh.http2.few_members import FewMembers
from mesh.http2.members import Member
from mesh.http2.shared_message import Shared
from mesh.http2.write_buffer import WriteBuffer

_FIRST_ROWS = 64
_ID_AT = 5


class ManyMembers:
    """Implements Members. Only the first `count` rows of each array are in use."""

    def __init__(
        self,
        write_buffer: WriteBuffer,
        on_writable: Callable[[], None],
        on_empty: Callable[[WriteBuffer], None],
    ) -> None:
        self.count = 0
        self.streams: list[Member] = []
        self.ids = np.zeros((_FIRST_ROWS, 4), np.uint8)
        """Stream ids as in a frame header, big-endian."""
        self.windows = np.zeros(_FIRST_ROWS, np.int64)
        self.positions = np.zeros(_FIRST_ROWS, np.int64)
        self.announced = np.zeros(_FIRST_ROWS, np.int64)
        self.sent_at = np.zeros(_FIRST_ROWS, np.float64)
        self.was_skipped = np.zeros(_FIRST_ROWS, np.bool_)
        """Its window was closed when there was something to send."""
        self.on_writable = on_writable
        self._write_buffer = write_buffer
        self._on_empty = on_empty

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, few: FewMembers) -> ManyMembers:
        """The same members, in the same rows; their streams are told."""
        many = cls(few.write_buffer, few.on_writable, few.on_empty)
        for row, stream in enumerate(few.streams):
            many.add(stream, few.positions[row], few.announced[row], few.sent_at[row])
            many.windows[row] = few.windows[row]
            many.was_skipped[row] = few.was_skipped[row]
            stream.move(many, row)
        return many

    def add(self, stream: Member, position: int, announced: int, now: float) -> int:
        row = self.count
        if row == len(self.windows):
            self._grow()
        self.count += 1
        self.streams.append(stream)
        self.ids[row] = np.frombuffer(stream.id.to_bytes(4, "big"), np.uint8)
        self.windows[row] = 0
        self.positions[row] = position
        self.announced[row] = announced
        self.sent_at[row] = now
        self.was_skipped[row] = False
        return row

    def _grow(self) -> None:
        for name in ("ids", "windows", "positions", "announced", "sent_at", "was_skipped"):
            column = getattr(self, name)
            wider = np.zeros((2 * len(column), *column.shape[1:]), column.dtype)
            wider[: len(column)] = column
            setattr(self, name, wider)

    def remove(self, row: int) -> None:
        self.count -= 1
        last = self.count
        stream = self.streams.pop()
        if row != last:
            self.streams[row] = stream
            stream.row = row
            for column in (
                self.ids,
                self.windows,
                self.positions,
                self.announced,
                self.sent_at,
                self.was_skipped,
            ):
                column[row] = column[last]
        if last == 0:
            self._on_empty(self._write_buffer)

    def set_window(self, row: int, window: int) -> None:
        self.windows[row] = window
        if window > 0 and self.was_skipped[row]:
            self.was_skipped[row] = False
            self.on_writable()

    def position(self, row: int) -> int:
        return int(self.positions[row])

    def stream_ids(self) -> NDArray[np.int64]:
        return self.ids[: self.count].view(">u4").reshape(-1).astype(np.int64)

    def advance(self, message: Shared, since: int, before: int, to: int, now: float) -> int:
        rows = self.deliver(message, self._between(since, before), now)
        self.positions[rows] = to
        return rows.size

    def has_ready(self, since: int, before: int) -> bool:
        return bool((self._between(since, before) & (self.windows[: self.count] > 0)).any())

    def _between(self, since: int, before: int) -> NDArray[np.bool_]:
        positions = self.positions[: self.count]
        return (positions >= since) & (positions < before)

    def reposition(self, at: int, to: int) -> None:
        positions = self.positions[: self.count]
        positions[positions == at] = to

    def has_unannounced(self, newest: int) -> bool:
        return bool((self.announced[: self.count] < newest).any())

    def drop_announcements(self, below: int) -> None:
        announced = self.announced[: self.count]
        np.maximum(announced, below - 1, out=announced)

    def stalled(self) -> int:
        count = self.count
        return int(np.count_nonzero(self.was_skipped[:count] & (self.windows[:count] <= 0)))

    def oldest_sent_at(self) -> float:
        return float(self.sent_at[: self.count].min())

    def send(self, message: Shared, chosen: NDArray[np.bool_], now: float) -> int:
        return self.deliver(message, chosen, now).size

    def announce(self, message: Shared, number: int, now: float) -> int:
        rows = self.deliver(message, (self.announced[: self.count] == number - 1) & self._have_begun(), now)
        self.announced[rows] = number
        return rows.size

    def heartbeat(self, message: Shared, before: float, now: float) -> int:
        return self.deliver(message, (self.sent_at[: self.count] < before) & self._have_begun(), now).size

    def _have_begun(self) -> NDArray[np.bool_]:
        return self.positions[: self.count] >= 0

    def deliver(self, message: Shared, chosen: NDArray[np.bool_], now: float) -> NDArray[np.intp]:
        """Sends to the `chosen` rows as far as the windows and the connection allow; returns those rows."""
        wanted = np.flatnonzero(chosen)
        if not wanted.size:
            return wanted
        windows = self.windows[wanted]
        if not message.fits_frame:
            return self._in_pieces(message, wanted[windows > 0], wanted[windows <= 0], now)
        frame, size = message.frame, message.size
        rows = wanted[windows >= size]
        fit = max(self._write_buffer.available_bytes, 0) // size
        if rows.size > fit:
            rows = rows[:fit]
            self._write_buffer.when_available(size, self.on_writable)
        if rows.size:
            buffer = np.empty((rows.size, frame.size), np.uint8)
            buffer[:] = frame
            buffer[:, _ID_AT : _ID_AT + 4] = self.ids[rows]
            self.windows[rows] -= size
            self.sent_at[rows] = now
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
        self.was_skipped[closed] = True
        self.sent_at[rows] = now
        for row in rows.tolist():
            self.streams[row].send_shared(message)
        return rows
