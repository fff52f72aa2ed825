"""Waiting for a wake-up or a deadline, again and again, by one task.

`asyncio.timeout` around an `asyncio.Event` makes a timer and cancels it each time. Here a timer stays when
the wait ends early, and the next wait, whose deadline is later, keeps it: it moves on once it is due.
"""

from __future__ import annotations

import asyncio


class EventWait:
    """Used by one task, on one event loop, whose time all times are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def clear(self) -> None:
        self._is_woken = False

    def wake(self) -> None:
        """Ends the wait, also one that begins later, unless there is a `clear` in between."""
        self._is_woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def wake_at(self, at_s: float) -> None:
        """Ends the wait then, if it has not ended before."""
        if at_s <= self._loop.time():
            self.wake()
        elif at_s < self._due_s:
            self._due_s = at_s
            self._see_to_timer()

    async def until_woken(self, until_s: float) -> None:
        """At most until then."""
        if self._is_woken or until_s <= self._loop.time():
            return
        self._due_s = until_s
        self._see_to_timer()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _see_to_timer(self) -> None:
        """One that is due too early moves on by itself."""
        if self._timer is None or self._timer.when() > self._due_s:
            self.close()
            self._timer = self._loop.call_at(self._due_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._due_s:
            self._see_to_timer()
        else:
            self._waiter.set_result(None)
