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
_TASKS_KEPT = 64

_current: VirtualLoop | None = None
"""Whose step this is."""


def running_loop() -> VirtualLoop:
    """asyncio.get_running_loop, which asks the kernel for the process's id each time (until Python 3.12).

    Raises RuntimeError outside of a loop's step."""
    if _current is None:
        raise RuntimeError("no loop of the simulation has its turn")
    return _current


def running_loop_or_none() -> VirtualLoop | None:
    return _current


class _Handle:
    """asyncio.Handle, as far as it is used."""

    __slots__ = ("arguments", "callback", "context")

    def __init__(
        self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.arguments = arguments
        self.context = context

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None


class _Timer(_Handle):
    """asyncio.TimerHandle, as far as it is used."""

    __slots__ = ("_loop", "_when")

    def __init__(
        self,
        callback: Callable[..., Any],
        arguments: tuple[Any, ...],
        context: Context | None,
        loop: VirtualLoop,
        when: float,
    ) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self._loop = loop
        self._when = when

    def when(self) -> float:
        return self._when

    def due(self) -> None:
        """Its moment has come, if its process has its turn."""
        loop = self._loop
        if not loop.has_turn(self.due) or self.callback is None:
            return
        if loop.time() < self._when:  # by a rounding: whoever waits on for so little would wait for ever
            loop.world.after(_ROUNDING_S, self.due)
            return
        loop.ready.append(self)
        loop.drain()


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio's futures, tasks, timeouts and locks need of a loop; nothing of I/O."""

    get_debug = staticmethod(bool)  # type: ignore[assignment]
    """Never. Each future asks, in C."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.ready: deque[_Handle] = deque()
        self.wrapped: list[Coroutine[Any, Any, Any]] = []
        """Coroutines in tasks of others, to be closed after them."""
        self._life = process.life
        self._booted_s = process.booted_s
        self._drains = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = _TASKS_KEPT

    def time(self) -> float:
        return self.world.now_s - self._booted_s

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def has_turn(self, again: Callable[[], None]) -> bool:
        """Whether the process can act. One that is stopped does it `again` once it goes on."""
        process, world = self.process, self.world
        if not process.is_up or process.life != self._life:
            return False
        left_s = process.stopped_until_s - world.now_s
        if left_s > 0:
            world.after(left_s, again)
        return left_s <= 0

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, context)
        self.ready.append(handle)
        if not self._drains:
            self._drains = True
            self.world.after(0.0, self._turn)
        return handle  # type: ignore[return-value]

    def _turn(self) -> None:
        if self.has_turn(self._turn):
            self.drain()

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(callback, args, context, self, when)
        delay_s = when - self.time()
        self.world.after(max(0.0, delay_s), timer.due)
        return timer  # type: ignore[return-value]

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name or "of the simulation", context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_max:
            self._tasks = [each for each in self._tasks if not each.done()]
            self.wrapped = [each for each in self.wrapped if inspect.getcoroutinestate(each) != _CLOSED]
            self._tasks_max = _TASKS_KEPT + 2 * len(self._tasks)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            self.process.world.fail(AssertionError(context["message"]))
        elif isinstance(error, AssertionError) or "never retrieved" not in context["message"]:
            self.process.world.fail(error)

    def drain(self) -> None:
        """Everything that is ready, and what that makes ready, at one moment."""
        self._drains = True
        self._enter()
        ready = self.ready
        try:
            while ready:
                handle = ready.popleft()
                callback = handle.callback
                if callback is None:
                    continue
                if handle.context is None:
                    callback(*handle.arguments)
                else:
                    handle.context.run(callback, *handle.arguments)
        except Exception as error:
            self.world.fail(error)
        finally:
            leave()
            self._drains = False

    def _enter(self) -> None:
        """What is written in C hears of it too, and believes it until another loop has its turn."""
        global _current
        _current = self
        if self.world.in_c is not self:
            self.world.in_c = self
            asyncio._set_running_loop(self)

    def abandon(self) -> None:
        """The process is dead: what its coroutines would do to end well happens nowhere."""
        world = self.process.world
        self.ready.clear()
        world.is_deaf = True
        self._enter()
        try:
            for task in self._tasks:
                if not task.done():
                    _close(task.get_coro())
            for coroutine in self.wrapped:
                _close(coroutine)
        finally:
            leave()
            world.is_deaf = False
        self.ready.clear()
        self._tasks, self.wrapped = [], []


def _close(coroutine: Any) -> None:
    """One that waits again while it ends is ended again."""
    for _ in range(16):
        with contextlib.suppress(RuntimeError):
            coroutine.close()
            return


def leave() -> None:
    """No loop has its turn."""
    global _current
    _current = None
