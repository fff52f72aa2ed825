"""Viewers that wait for a read barrier: they must be shown something that the view does not include yet (I5,
I6).

All viewers also wait while a partition of the game was not loaded whole, as it is folded again: no viewer is
shown a part of the count. And a viewer waits whose position is outside the partitions that the game is known
to fold in: the game's spread may have changed, so its entry in the catalog is looked up first. And one waits
for what it would have to find (see gateway.feed), which is shown what there is once its time is over.

All wait in one list, and one loop reads the store for all of them: again when anything was folded, or after a
growing pause. So many viewers that reconnect at once cost a few reads.

Bounds: the viewers that mesh.stream_limits admits, each for BARRIER_S (then DEADLINE_EXCEEDED, naming the
position, or UNAVAILABLE, naming the partition); one catalog look-up at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.subscribe import ViewerStream
from grandstand.wire.errors import TooLate, Unavailable
from mesh import limits, telemetry
from mesh.redis.share import folded_anew
from mesh.results_feed.view import GameView

_LOOK_FIRST_S = 0.004
_LOOK_MAX_S = 0.05


class _Waiter(NamedTuple):
    viewer: ViewerStream
    until_s: float
    is_new: bool
    """Not checked yet."""


class BarrierWaiters:
    """`load` updates the view from the store and `refresh` the game's entry in the catalog; neither raises.
    `on_shown` is called with each viewer whose barrier the view includes."""

    def __init__(
        self,
        view: GameView,
        load: Callable[[], Awaitable[None]],
        refresh: Callable[[], Awaitable[None]],
        on_shown: Callable[[ViewerStream], None],
        lacks: Callable[[ViewerStream], bool] = lambda _: False,
    ) -> None:
        """`lacks`: whether the view lacks what the viewer would have to find."""
        self._view = view
        self._load = load
        self._refresh = refresh
        self._on_shown = on_shown
        self._lacks = lacks
        self._loop = asyncio.get_running_loop()
        self._waiters: list[_Waiter] = []
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, viewer: ViewerStream) -> None:
        """A viewer that leaves meanwhile is forgotten."""
        self._waiters.append(_Waiter(viewer, self._loop.time() + limits.BARRIER_S, is_new=True))
        if self._task is None:
            with telemetry.detached():
                self._task = asyncio.create_task(self._run())

    @property
    def are_waiting(self) -> bool:
        return self._task is not None

    def news(self) -> None:
        """More may be included by now."""
        self._news.set()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pause_s = _LOOK_FIRST_S
        while self._waiters:
            has_news = self._news.is_set()
            self._news.clear()
            late, self._waiters = self._waiters, []
            if any(each.is_new and self._is_outside(each.viewer) for each in late):
                await self._refresh()
            elif has_news:
                self._look_at(late)
                late, self._waiters = self._waiters, []
            if late:
                await self._load()
                if not self._waiters:
                    # Its own is news too, which the look has. Who came meanwhile is looked at soon.
                    self._news.clear()
                self._look_at(late)
            await asyncio.sleep(_LOOK_FIRST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s - _LOOK_FIRST_S):
                    await self._news.wait()
            pause_s = min(pause_s * 1.5, _LOOK_MAX_S)
        self._task = None

    def _is_outside(self, viewer: ViewerStream) -> bool:
        return viewer.subscription is not None and viewer.subscription.is_outside(self._view)

    def _look_at(self, waiters: list[_Waiter]) -> None:
        now, unloaded = self._loop.time(), self._view.unloaded()
        for each in waiters:
            self._look(each, now, unloaded)

    def _look(self, waiter: _Waiter, now: float, unloaded: int | None) -> None:
        viewer = waiter.viewer
        if viewer.admission is None:
            return
        assert viewer.subscription is not None
        missing = viewer.subscription.missing(self._view) if unloaded is None else None
        if unloaded is None and missing is None and (now >= waiter.until_s or not self._lacks(viewer)):
            self._on_shown(viewer)
        elif now < waiter.until_s:
            self._waiters.append(waiter._replace(is_new=False) if waiter.is_new else waiter)
        elif unloaded is not None:
            viewer.end(Unavailable(folded_anew(unloaded)))
        elif missing is not None:
            viewer.end(
                TooLate(
                    f"position {missing.sequence} of partition {missing.partition} was not reached within "
                    f"{limits.BARRIER_S:g} s (applied: {self._view.applied(missing.partition)}); ask again"
                )
            )
