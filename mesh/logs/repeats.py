"""A bound on lines that say the same: of one place of the code PLACE_LINES_MAX each WINDOW_S. Pure.

What is beyond is counted, and told in one line when the window is over. Bound: PLACES_MAX windows at a time;
beyond them the oldest ends early.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Last = TypeVar("Last")

WINDOW_S = 60.0
PLACE_LINES_MAX = 40
"""Two of each partition of a worker that owns all."""
PLACES_MAX = 1_000


class _Window(Generic[Last]):
    __slots__ = ("lines", "since_s", "suppressed")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.lines = 0
        self.suppressed: tuple[int, Last] | None = None


class Repeats(Generic[Last]):
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._windows: OrderedDict[object, _Window[Last]] = OrderedDict()

    def admits(self, place: object, line: Last, now_s: float) -> bool:
        """Whether the line is to be written. Ask `over` first."""
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = _Window(now_s)
        window.lines += 1
        if window.lines <= PLACE_LINES_MAX:
            return True
        window.suppressed = ((window.suppressed[0] if window.suppressed else 0) + 1, line)
        return False

    @property
    def due_s(self) -> float | None:
        """When the next window ends that left lines out; None if there is none."""
        return min((w.since_s + WINDOW_S for w in self._windows.values() if w.suppressed), default=None)

    def over(self, now_s: float) -> list[tuple[int, Last]]:
        """Ends the windows whose time is over: how many lines each left out, and the last of them."""
        found = []
        while self._windows:
            place, window = next(iter(self._windows.items()))
            if now_s < window.since_s + WINDOW_S and len(self._windows) <= PLACES_MAX:
                break
            del self._windows[place]
            if window.suppressed is not None:
                found.append(window.suppressed)
        return found

    def end(self) -> list[tuple[int, Last]]:
        """Ends all windows."""
        found = [window.suppressed for window in self._windows.values() if window.suppressed is not None]
        self._windows.clear()
        return found
