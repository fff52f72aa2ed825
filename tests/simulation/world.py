"""Virtual time, and what happens next. Everything random comes from here."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

BEGINS_S = 1_790_000_000.0


class World:
    """A queue of moments. Of equal moments any may come first: the seed decides."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now_s = BEGINS_S
        self.calm = False
        """True: nothing breaks any more."""
        self.losses = 0
        """How often the event stream lost what it held."""
        self.is_deaf = False
        """True while somebody dies: what fails then is no failure."""
        self._failure: BaseException | None = None
        self.in_c: object = None
        """The loop that has its turn, as asyncio's C code knows it."""
        self._queue: list[tuple[float, float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._drawn = self.random.random

    @property
    def elapsed_s(self) -> float:
        return self.now_s - BEGINS_S

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_s + delay_s, self._drawn(), next(self._numbers), do))

    def soon(self, do: Callable[[], None], mean_s: float = 0.01) -> None:
        """After a delay such as messages and processes have: mostly short, sometimes long."""
        self.after(self.random.expovariate(1 / mean_s), do)

    def odds(self, chance: float) -> bool:
        """Whether something breaks now."""
        return not self.calm and self.random.random() < chance

    def fail(self, error: BaseException) -> None:
        """Something happened that nobody may catch: the history ends with it."""
        if not self.is_deaf:
            self._failure = self._failure or error

    def run(self, until_s: float) -> None:
        """All that happens until so much time has passed."""
        until_s += BEGINS_S
        queue = self._queue
        while queue and queue[0][0] <= until_s:
            self.now_s, _, _, do = heapq.heappop(queue)
            do()
            if self._failure is not None:
                raise self._failure
        self.now_s = max(self.now_s, until_s)
