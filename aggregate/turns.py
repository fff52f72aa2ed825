"""Turns of work that holds the event loop up: one at a time, and after each the loop is left alone as long.

For decoding the states of partitions: a process that lost all its leases at once would otherwise decode all
states for longer than a lease lives, renew none, and lose all again. A renewal takes several passes of the
loop, so letting it pass once between two turns is not enough. What is quick waits for next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Shared by all that take turns. Bound: one waits for each caller, such as the worker of a partition."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next_s = 0.0

    async def take(self, work: Callable[[], T]) -> T:
        """Raises what `work` raises."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(max(0.0, self._next_s - loop.time()))
            began_s = loop.time()
            try:
                return work()
            finally:
                ended_s = loop.time()
                self._next_s = ended_s + (ended_s - began_s)
