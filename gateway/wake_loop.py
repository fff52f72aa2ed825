"""A task that runs one step whenever a plan says that it is due, and sleeps until then.

The plan is pure and tells when something is due next; whoever changes it calls `nudge`. A nudge that does not
bring the time forward wakes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from grandstand.wire.tasks import end


class WakeLoop:
    """`step` returns whether it did anything, and is then called again at once. `next_at_s`: when the next
    step is due by the loop's clock, perhaps in the past; None: not before something changes."""

    def __init__(self, step: Callable[[], Awaitable[bool]], next_at_s: Callable[[], float | None]) -> None:
        self._step = step
        self._next_at_s = next_at_s
        self._wake = asyncio.Event()
        self._sleeps_until_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end(self._task)

    def nudge(self) -> None:
        """Something may be due sooner than before."""
        at_s = self._next_at_s()
        if at_s is not None and at_s < self._sleeps_until_s:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            if await self._step():
                continue
            at_s = self._next_at_s()
            self._sleeps_until_s = float("inf") if at_s is None else at_s
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(at_s):
                    await self._wake.wait()
            self._sleeps_until_s = float("-inf")
