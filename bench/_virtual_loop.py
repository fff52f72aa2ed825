"""An event loop whose clock stands still while it works, and jumps to the next timer when nothing is ready.

So what a path does depends on what it is given, never on how fast the machine is: blocks hold as many events
in each round, and no CPU is spent waiting.
"""

from __future__ import annotations

import asyncio
import selectors


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now_s = 1_000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds

    async def turn(self, seconds: float) -> None:
        """Lets what is ready run, this many seconds later."""
        self.advance(seconds)
        await asyncio.sleep(0)


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self._loop.advance(timeout)
        return super().select(0)
