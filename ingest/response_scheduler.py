"""Sends the streams' answers, so many in each turn of the event loop.

A stream with something to say stands in one queue, once. Each turn of the loop sends for the
first TURN_STREAMS of them, or a TURNS-th if that is more, and lets the readers have their turn.
So acks need no timer: on an idle ingest one leaves at once, and the busier it is, the more is
read in a turn with the same number of acks, and the more events an ack covers.

A client that does not take its answers holds up nobody: its stream says nothing until it may.

Bound: one place for each open stream.

Rejected: a writer task for each stream, which costs memory while it idles; an interval
between acks, which a lone vote would wait for and which no load fits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

TURN_STREAMS = 32
TURNS = 4


class Speaker(Protocol):
    """A stream."""

    is_queued: bool

    def speak(self) -> None:
        """Sends all that it has to say; must not raise."""
        ...


class Answers:
    def __init__(self) -> None:
        self._queue: deque[Speaker] = deque()
        self._is_scheduled = False

    def add(self, speaker: Speaker) -> None:
        """The speaker will `speak` soon; it may be added any number of times."""
        if speaker.is_queued:
            return
        speaker.is_queued = True
        self._queue.append(speaker)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        queue = self._queue
        for _ in range(min(len(queue), max(TURN_STREAMS, len(queue) // TURNS))):
            speaker = queue.popleft()
            speaker.is_queued = False
            speaker.speak()
        self._is_scheduled = bool(queue)
        if queue:
            asyncio.get_running_loop().call_soon(self._turn)
