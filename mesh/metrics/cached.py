"""What many ask for at once and often, made at most every so often: a call that comes while it is being made
waits for the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

CACHED_S = 0.25

Made = TypeVar("Made")


class Cached(Generic[Made]):
    def __init__(self, make: Callable[[], Awaitable[Made]], kept_s: float = CACHED_S) -> None:
        self.makes = 0
        self._make = make
        self._kept_s = kept_s
        self._made: tuple[float, Made] | None = None
        self._making: asyncio.Task[Made] | None = None

    async def get(self) -> Made:
        loop = asyncio.get_running_loop()
        if self._made is not None and loop.time() - self._made[0] < self._kept_s:
            return self._made[1]
        if self._making is None:
            self._making = loop.create_task(self._make_anew())
        # Who goes away meanwhile does not take it from the others.
        return await asyncio.shield(self._making)

    async def _make_anew(self) -> Made:
        try:
            made = await self._make()
            self._made = asyncio.get_running_loop().time(), made
            self.makes += 1
            return made
        finally:
            self._making = None
