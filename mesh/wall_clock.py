"""The wall clock of our processes: every service reads it here, so that tests and `chaos` can shift one.

`GRANDSTAND_CLOCK_SHIFT` names a file with a number of seconds to add, looked at again after LOOK_AGAIN_S at
the earliest. A file that is missing, or that holds no finite number, leaves the shift as it was. Without the
variable the clock is the machine's and no file is looked at. Production refuses the variable (mesh.config).
Durations never go by this clock: they take the loop's time or mesh.catalog.mesh_clock.boot_s.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

SHIFT_VARIABLE = "GRANDSTAND_CLOCK_SHIFT"
LOOK_AGAIN_S = 0.5


class ClockShift:
    """What a file says. `now_s` of a clock that never goes back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shift_s = 0.0
        self._look_at_s = -math.inf

    def at_s(self, now_s: float) -> float:
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_AGAIN_S
            try:
                found_s = float(self._path.read_text())
            except (OSError, ValueError):
                return self._shift_s
            if math.isfinite(found_s):
                self._shift_s = found_s
        return self._shift_s


_shift = ClockShift(Path(os.environ[SHIFT_VARIABLE])) if os.environ.get(SHIFT_VARIABLE) else None


def now_s() -> float:
    """Unix seconds."""
    if _shift is None:
        return time.time()
    return time.time() + _shift.at_s(time.monotonic())


def now_ns() -> int:
    """Unix nanoseconds."""
    return time.time_ns() if _shift is None else int(now_s() * 1e9)
