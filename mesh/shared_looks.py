"""One look for all who ask the same question at the same time.

A caller is never given a look that began before it asked: that could miss what was answered before. It shares
the one that begins next. So of one key at most one look is under way and one waits, however many ask. A look
goes on when a caller that waits for it is cancelled; one that has not begun is dropped with its last caller.

Bounds: `at_once` looks under way; the others wait in the order of their first callers, no more of them than
there are callers. Those are the caller's to bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from mesh import telemetry

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class _Look(Generic[Found]):
    """`callers`: how many wait for it."""

    def __init__(self, task: asyncio.Task[Found]) -> None:
        self.task = task
        self.callers = 0


class SharedLooks(Generic[Key, Found]):
    def __init__(self, look: Callable[[Key], Awaitable[Found]], at_once: int) -> None:
        self._look = look
        self._slots = asyncio.Semaphore(at_once)
        self._next: dict[Key, _Look[Found]] = {}
        """Not begun yet."""
        self._running: dict[Key, _Look[Found]] = {}

    async def of(self, key: Key) -> Found:
        """What a look at `key` finds that begins after this call. Raises what the look raises."""
        look = self._next.get(key)
        if look is None:
            with telemetry.detached():
                look = self._next[key] = _Look(asyncio.create_task(self._run(key)))
            look.task.add_done_callback(_heard)
        look.callers += 1
        try:
            await asyncio.wait([look.task])
        finally:
            look.callers -= 1
            if not look.callers and self._next.get(key) is look:
                del self._next[key]
                look.task.cancel()
        return look.task.result()

    async def _run(self, key: Key) -> Found:
        if key in self._running:
            await asyncio.wait([self._running[key].task])
        async with self._slots:
            self._running[key] = self._next.pop(key)
            try:
                return await self._look(key)
            finally:
                del self._running[key]


def _heard(task: asyncio.Task[Found]) -> None:
    """Its error is raised to those who wait for it, if any still do."""
    if not task.cancelled():
        task.exception()
