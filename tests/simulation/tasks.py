"""Coroutines in virtual time: what a process does in several steps, written as it is in the real shells.

A step ends where the coroutine waits. Before the next one its process may have stopped or died, and
everybody else has had a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

from tests.simulation.process import Process

T = TypeVar("T")
Answer = T | BaseException
Resume = Callable[[Any], None]


class Wait(Generic[T]):
    """`begin` is given whom to tell the answer, once; an exception as an answer is raised."""

    def __init__(self, begin: Callable[[Resume], None]) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Wait[T], Any, T]:
        answer = yield self
        return cast(T, answer)

    def begin(self, resume: Resume) -> None:
        self._begin(resume)


class Task:
    """Runs until its coroutine ends, its process dies, or it is cancelled; `done` hears what it returned
    or, if it is an Exception that it may end with (`ends`), what it raised."""

    def __init__(
        self,
        process: Process,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[Any], None] = lambda result: None,
        ends: tuple[type[Exception], ...] = (),
    ) -> None:
        self._process = process
        self._coroutine = coroutine
        self._done = done
        self._ends = ends
        self._life = process.life
        self.is_over = False
        self._step(None)

    def cancel(self) -> None:
        """Between two steps; never by itself."""
        if not self.is_over:
            self.is_over = True
            self._coroutine.close()

    def _step(self, answer: Any) -> None:
        if self.is_over:
            return
        try:
            if isinstance(answer, BaseException):
                wait = self._coroutine.throw(answer)
            else:
                wait = self._coroutine.send(answer)
        except StopIteration as stop:
            self._over(stop.value)
        except self._ends as error:
            self._over(error)
        else:
            told = False

            def resume(answer: Any = None) -> None:
                nonlocal told
                if not told:
                    told = True
                    self._process.in_turn(lambda: self._step(answer), self._life)

            wait.begin(resume)

    def _over(self, result: Any) -> None:
        self.is_over = True
        self._done(result)


def sleep(process: Process, for_s: float) -> Wait[None]:
    return Wait(lambda resume: process.world.after(for_s, lambda: resume(None)))
