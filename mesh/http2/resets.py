"""The streams that we reset lately: what their client sent before it knew is ignored (RFC 9113, 5.1). Pure.

Bound: RESET_STREAMS_REMEMBERED, the oldest forgotten first; DATA on a forgotten one is answered
STREAM_CLOSED once more.
"""

from __future__ import annotations

from collections import deque

from mesh.http2 import bounds


class Resets:
    __slots__ = ("_ids", "_order")

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._order: deque[int] = deque()

    def __contains__(self, stream: int) -> bool:
        return stream in self._ids

    def add(self, stream: int) -> None:
        if stream not in self._ids:
            self._ids.add(stream)
            self._order.append(stream)
            if len(self._order) > bounds.RESET_STREAMS_REMEMBERED:
                self._ids.discard(self._order.popleft())
