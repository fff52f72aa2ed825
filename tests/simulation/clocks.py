"""Wall clocks: each runs at its own rate from its own offset, is set, and may stand still.

The world's own time is true time, and what every process's CLOCK_BOOTTIME shows, save for an offset
that nobody may rely on.
"""

from __future__ import annotations

from tests.simulation.world import World

_DRIFT_MAX = 2e-4


class Clock:
    def __init__(self, world: World, offset_s: float = 0.0) -> None:
        self._world = world
        self._rate = 1 + world.random.uniform(-_DRIFT_MAX, _DRIFT_MAX)
        self._true_s = world.now_s
        self._shown_s = world.now_s + offset_s
        self.stands = False

    @property
    def now_s(self) -> float:
        """Unix seconds, as this clock has them."""
        elapsed_s = self._world.now_s - self._true_s
        return self._shown_s + (0.0 if self.stands else elapsed_s * self._rate)

    @property
    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def set(self, off_by_s: float) -> None:
        """Set to true time plus `off_by_s`."""
        self._true_s = self._world.now_s
        self._shown_s = self._world.now_s + off_by_s

    def stand(self, for_s: float) -> None:
        """Stands still for a while, and goes on from there."""
        shown_s = self.now_s
        self.stands = True
        self._true_s, self._shown_s = self._world.now_s, shown_s
        self._world.after(for_s, self._go_on)

    def _go_on(self) -> None:
        self._true_s = self._world.now_s
        self.stands = False
