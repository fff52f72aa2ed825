"""Decides which streams send their responses in this turn of the event loop.

A stream with responses to send is queued once. Each turn serves the first TURN_STREAMS of the queue, or
1/TURNS of it if that is more, then yields to the readers. So acks need no timer: an idle ingest sends an ack
at once, and under load more events are read per turn for the same number of acks, so each ack covers more.

A stream whose client does not read stays out of the way: it sends nothing until its call is writable again.

Bound: one queue entry for each open stream.

Rejected: a writer task for each stream (memory while idle); a fixed interval between acks (a lone vote would
wait for it, and no one interval fits every load).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

TURN_STREAMS = 32
TURNS = 4


class Responder(Protocol):
    """A stream that has responses to send."""

    is_queued: bool

    def send_responses(self) -> None:
        """Sends all queued responses; must not raise."""
        ...


class ResponseScheduler:
    def __init__(self) -> None:
        self._queue: deque[Responder] = deque()
        self._is_scheduled = False

    def add(self, responder: Responder) -> None:
        """Schedules `send_responses` for one of the next turns. Adding a queued responder again has no
        effect."""
        if responder.is_queued:
            return
        responder.is_queued = True
        self._queue.append(responder)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        queue = self._queue
        for _ in range(min(len(queue), max(TURN_STREAMS, len(queue) // TURNS))):
            responder = queue.popleft()
            responder.is_queued = False
            responder.send_responses()
        self._is_scheduled = bool(queue)
        if queue:
            asyncio.get_running_loop().call_soon(self._turn)
