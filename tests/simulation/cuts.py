"""Who cannot reach what: cuts between one process and one thing that it stands on, and of nobody else.

What is sent meanwhile is lost, or is a TCP segment that gets through once the cut is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tests.simulation.world import World

Thing = Literal["events", "bucket", "redis"]
THINGS: tuple[Thing, ...] = ("events", "bucket", "redis")


class Cuts:
    def __init__(self, world: World) -> None:
        self._world = world
        self._until_s: dict[tuple[str, Thing], float] = {}

    def cut(self, name: str, thing: Thing, for_s: float) -> None:
        """Both ways, between the process of that name and the thing."""
        self._until_s[name, thing] = max(self._until_s.get((name, thing), 0.0), self._world.now_s + for_s)

    def left_s(self, name: str, thing: Thing) -> float:
        """How long the two are still apart; 0 if they are not."""
        until_s = self._until_s.get((name, thing))
        return 0.0 if until_s is None else max(0.0, until_s - self._world.now_s)

    def through(self, name: str, thing: Thing, arrive: Callable[[], None], mean_s: float) -> None:
        """`arrive` after as long as a message takes; after a cut, or never, if there is one."""
        left_s = self.left_s(name, thing)
        if left_s and self._world.random.random() < 0.5:
            return
        self._world.after(left_s + self._world.random.expovariate(1 / mean_s), arrive)
