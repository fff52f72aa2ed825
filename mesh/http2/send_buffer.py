"""What one stream still has to send: DATA that did not fit the flow-control windows. Pure.

It exists only while there is something in it, so an idle stream does not pay for it. The rest of a broadcast
message (mesh.http2.broadcast_group) that the stream has begun to send goes before the stream's own messages.
A broadcast message is shared by all streams that send it, and never copied as a whole.

Bound: the stream ends its call when its own messages exceed SEND_WAITING_BYTES_MAX (`is_too_full`).
"""

from __future__ import annotations

from mesh.http2 import bounds, frames


class SendBuffer:
    __slots__ = ("_own", "_shared")

    def __init__(self, shared: bytes = b"") -> None:
        """`shared`: a broadcast message with its gRPC prefix."""
        self._shared: memoryview | None = memoryview(shared) if shared else None
        self._own = bytearray()

    def append(self, message: bytes) -> None:
        """One of the stream's own messages."""
        self._own += frames.PREFIX.pack(0, len(message))
        self._own += message

    def __len__(self) -> int:
        """Bytes."""
        return len(self._own) + (0 if self._shared is None else len(self._shared))

    @property
    def is_writable(self) -> bool:
        """Whether the handler may send more: see mesh.http2.call."""
        return len(self._own) <= bounds.SEND_BUFFER_BYTES_MAX

    @property
    def is_too_full(self) -> bool:
        return len(self._own) > bounds.SEND_WAITING_BYTES_MAX

    def take(self, size_max: int) -> bytes:
        """The payload of the next DATA frame, at most `size_max` bytes."""
        shared = self._shared
        if shared is not None:
            payload = bytes(shared[:size_max])
            self._shared = shared[size_max:] if size_max < len(shared) else None
        else:
            payload = bytes(self._own[:size_max])
            del self._own[:size_max]
        return payload
