"""What a stream needs of the connection that carries it. Pure; mesh.http2.calls implements it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mesh.http2.termination_counts import TerminationCounts
from mesh.http2.write_buffer import WriteBuffer


class Timer(Protocol):
    def cancel(self) -> None: ...


class StreamHost(Protocol):
    write_buffer: WriteBuffer
    peer: str
    terminations: TerminationCounts
    message_bytes_max: int
    messages_received: int
    buffered_bytes: int
    """Received on all streams of the connection and not yet delivered to handlers."""

    def forget(self, stream_id: int, *, was_reset: bool) -> None:
        """The stream is closed; `was_reset`: with an RST_STREAM of ours."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Calls it in the next turn of the loop."""

    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...

    def window_limit(self, stream_id: int) -> int:
        """Bytes of DATA that the peer may have sent on a stream without a WINDOW_UPDATE from us."""
