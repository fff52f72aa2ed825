"""A process of the simulation: it may be stopped and go on, or be killed and come back as another life."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.clocks import Clock
from tests.simulation.loops import VirtualLoop
from tests.simulation.world import World


class Process:
    """What it does is scheduled through `then`, or runs on its `loop`: between any two of these steps
    it may stop or die. `clock` is its wall clock; BOOTTIME is true time from a moment of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 1
        self.is_up = True
        self.clock = Clock(world)
        self.booted_s = world.now_s - world.random.uniform(100, 1e6)
        self.stopped_until_s = 0.0
        self.loop = VirtualLoop(self)

    @property
    def boot_s(self) -> float:
        """CLOCK_BOOTTIME: it goes on while the process is stopped, and nobody can set it."""
        return self.world.now_s - self.booted_s

    @property
    def is_stopped(self) -> bool:
        return self.world.now_s < self.stopped_until_s

    def then(self, do: Callable[[], None], mean_s: float = 0.004, at_least_s: float = 0.0) -> None:
        """Does it after a while, if this life lasts until then."""
        life = self.life
        delay_s = at_least_s + (self.world.random.expovariate(1 / mean_s) if mean_s else 0.0)
        self.world.after(delay_s, lambda: self.in_turn(do, life))

    def in_turn(self, do: Callable[[], None], life: int) -> None:
        """Does it now, if this life still lasts; if it is stopped, once it goes on."""
        if not self.is_up or self.life != life:
            return
        if self.world.now_s < self.stopped_until_s:
            self.world.after(self.stopped_until_s - self.world.now_s, lambda: self.in_turn(do, life))
        else:
            do()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *ends: type[BaseException]) -> None:
        """Runs it on the loop. An exception that is none of `ends` fails the history."""

        async def guarded() -> None:
            try:
                await coroutine
            except ends:
                pass
            except Exception as error:
                self.world.fail(error)

        self.loop.wrapped.append(coroutine)
        self.loop.create_task(guarded())

    def stop(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while: what happens to it waits."""
        self.stopped_until_s = max(self.stopped_until_s, self.world.now_s + for_s)

    def kill(self, down_s: float) -> None:
        """SIGKILL, and a new life after a while."""
        if not self.is_up:
            return
        self.is_up = False
        self.loop.abandon()
        self.died()
        self.world.after(down_s, self._come_back)

    def _come_back(self) -> None:
        self.life += 1
        self.is_up = True
        self.stopped_until_s = 0.0
        self.loop = VirtualLoop(self)
        self.born()

    def died(self) -> None:
        """The memory of the process is gone."""

    def born(self) -> None:
        """A life begins."""
