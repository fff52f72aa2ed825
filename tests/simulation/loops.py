"""An asyncio event loop in virtual time, one for each process: the real shells run on it as they are.

Its callbacks take the process's turns: a stopped process runs none, a dead one never again. Whatever a
coroutine of the process waits for, between two of its steps everybody else may have had a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.simulation.process import Process

T = TypeVar("T")
_ROUNDING_S = 1e-6  # of virtual seconds since 1970
_CLOSED = inspect.CORO_CLOSED


class _Handle:
    """asyncio.TimerHandle, as far as it is used: half of what a history costs goes through here."""

    __slots__ = ("_arguments", "_context", "_when", "callback")

    def __init__(
        self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Context | None, when: float
    ) -> None:
        self.callback: Callable[..., Any] | None = callback
        self._arguments = arguments
        self._context = context
        self._when = when

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        if self.callback is None:
            return
        if self._context is None:
            self.callback(*self._arguments)
        else:
            self._context.run(self.callback, *self._arguments)


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio's futures, tasks, timeouts and locks need of a loop; nothing of I/O."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._life = process.life
        self._ready: deque[_Handle] = deque()
        self._drains = False
        self._tasks: list[asyncio.Task[Any]] = []
        self.wrapped: list[Coroutine[Any, Any, Any]] = []
        """Coroutines in tasks of others, to be closed after them."""

    def time(self) -> float:
        return self.process.boot_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, context, 0.0)
        self._ready.append(handle)
        if not self._drains:
            self._drains = True
            self.process.world.after(0.0, self._turn)
        return handle  # type: ignore[return-value]

    def _turn(self) -> None:
        self.process.in_turn(self._drain, self._life)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(callback, args, context, when)
        process, life = self.process, self._life

        def due() -> None:
            if handle.callback is None:
                return
            if self.time() < when:  # by a rounding: whoever waits on for so little would wait for ever
                process.world.after(_ROUNDING_S, lambda: process.in_turn(due, life))
                return
            self._ready.append(handle)
            self._drain()

        process.world.after(max(0.0, when - process.boot_s), lambda: process.in_turn(due, life))
        return handle  # type: ignore[return-value]

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name or "of the simulation", context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.append(task)
        if len(self._tasks) > 64:
            self._tasks = [each for each in self._tasks if not each.done()]
            self.wrapped = [each for each in self.wrapped if inspect.getcoroutinestate(each) != _CLOSED]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            self.process.world.fail(AssertionError(context["message"]))
        elif isinstance(error, AssertionError) or "never retrieved" not in context["message"]:
            self.process.world.fail(error)

    def _drain(self) -> None:
        """Everything that is ready, and what that makes ready, at one moment."""
        self._drains = True
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                self._ready.popleft().run()
        except Exception as error:
            self.process.world.fail(error)
        finally:
            asyncio._set_running_loop(None)
            self._drains = False

    def abandon(self) -> None:
        """The process is dead: what its coroutines would do to end well happens nowhere."""
        world = self.process.world
        self._ready.clear()
        world.is_deaf = True
        asyncio._set_running_loop(self)
        try:
            for task in self._tasks:
                if not task.done():
                    _close(task.get_coro())
            for coroutine in self.wrapped:
                _close(coroutine)
        finally:
            asyncio._set_running_loop(None)
            world.is_deaf = False
        self._ready.clear()
        self._tasks, self.wrapped = [], []


def _close(coroutine: Any) -> None:
    """One that waits again while it ends is ended again."""
    for _ in range(16):
        with contextlib.suppress(RuntimeError):
            coroutine.close()
            return
