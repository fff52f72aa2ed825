"""What a broadcast group, its members and the streams say to each other (mesh.http2.broadcast_group)."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mesh.http2.shared_message import Shared
from mesh.http2.write_buffer import WriteBuffer

Chosen = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Maps an array of stream ids to a mask of the chosen ones."""


class Member(Protocol):
    """A stream, as its group sees it (mesh.http2.stream)."""

    id: int
    write_buffer: WriteBuffer
    row: int
    """Where its window lies in the columns of its Members."""

    def join(self, members: Members, row: int) -> None:
        """Moves its window to `row`, unless something waits to be sent."""

    def move(self, members: Members, row: int) -> None:
        """Its window lies there from now on, as the group has moved it."""

    def send_shared(self, message: Shared) -> None:
        """Sends it in pieces, as the windows allow. Nothing waits before it."""


class Members(Protocol):
    """The members on one connection, one row each, few or many."""

    streams: list[Member]
    on_writable: Callable[[], None]

    @property
    def windows(self) -> MutableSequence[int] | NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def add(self, stream: Member, position: int, announced: int, now: float) -> int:
        """Returns the row of `stream`, whose window the caller sets."""

    def remove(self, row: int) -> None:
        """The last row is moved into its place."""

    def set_window(self, row: int, window: int) -> None:
        """The peer has changed the window of that row."""

    def position(self, row: int) -> int: ...
    def stream_ids(self) -> NDArray[np.int64]: ...
    def advance(self, message: Shared, since: int, before: int, to: int, now: float) -> int: ...
    def has_ready(self, since: int, before: int) -> bool: ...
    def reposition(self, at: int, to: int) -> None: ...
    def announce(self, message: Shared, number: int, now: float) -> int: ...
    def has_unannounced(self, newest: int) -> bool: ...
    def drop_announcements(self, below: int) -> None: ...
    def heartbeat(self, message: Shared, before: float, now: float) -> int: ...
    def send(self, message: Shared, chosen: NDArray[np.bool_], now: float) -> int: ...
    def stalled(self) -> int: ...
    def oldest_sent_at(self) -> float: ...
