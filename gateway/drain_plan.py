"""The plan of a drain: when each viewer is told to reconnect, and when its stream ends. Pure.

Viewers are divided into batches of about the same size by their stream's id, which needs no table. A batch is
told once, in one frame, to connect to another gateway after a delay of its own, and its streams are ended
DRAIN_PATIENCE_S after that, when the new ones are open. No delay is shorter than DRAIN_HEAD_START_S: load
balancers need a moment to see that this gateway accepts no more. Batches are spread so that no more than
DRAIN_PER_S viewers a second arrive elsewhere, if the grace allows it: all streams have ended when it is over.

The delay of a batch is random within its share of the time, so that several gateways that drain together, or
one after the other with the same numbers, are not synchronised.

Bounds: BATCHES_MAX. Rejected: a delay for each viewer (a frame for each). Batches by id modulo their number:
clients that close every tenth stream leave some batch empty and others whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

import numpy as np
from numpy.typing import NDArray

from gateway import bounds

# As close as batches follow each other, where there is time; a tick, so that a batch's frames leave together.
BATCH_S = bounds.TICK_S
BATCHES_MAX = 1_000
# Fibonacci hashing (Knuth, TAOCP 3, 6.4): 2^32 / golden ratio, odd. Consecutive ids, and ids a constant
# step apart, are spread evenly.
_SCATTER = 2_654_435_769
_WORD = 0xFFFFFFFF


class DrainPlan:
    """`grace_s`: all streams have ended by then, from the moment the plan is made. `random`: floats of 0 to
    1, 1 excluded; without it each delay is the middle of its batch's share. Raises ValueError for a
    negative argument."""

    def __init__(self, viewers: int, grace_s: float, random: Callable[[], float] = lambda: 0.5) -> None:
        if viewers < 0 or not 0 <= grace_s < math.inf:
            raise ValueError(f"viewers {viewers}, grace {grace_s:g} s: neither may be negative or infinite")
        self._patience_s = min(bounds.DRAIN_PATIENCE_S, grace_s / 3)
        head_start_s = min(bounds.DRAIN_HEAD_START_S, grace_s / 3)
        self.spread_s = min(viewers / bounds.DRAIN_PER_S, grace_s - self._patience_s - head_start_s)
        """Seconds over which the reconnects are spread."""
        self.batches = max(1, min(viewers, round(self.spread_s / BATCH_S), BATCHES_MAX))
        share_s = self.spread_s / self.batches
        self._delays_s = [head_start_s + (batch + random()) * share_s for batch in range(self.batches)]

    @overload
    def batch_of(self, stream_id: int) -> int: ...
    @overload
    def batch_of(self, stream_id: NDArray[np.integer]) -> NDArray[np.int64]: ...
    def batch_of(self, stream_id: int | NDArray[np.integer]) -> int | NDArray[np.int64]:
        """Of one stream id or of an array of them, of any integer type; 0 to `batches` - 1."""
        if isinstance(stream_id, np.ndarray):
            ids = stream_id.astype(np.uint64) >> np.uint64(1)
            scattered = ids * np.uint64(_SCATTER) & np.uint64(_WORD)
            return (scattered * np.uint64(self.batches) >> np.uint64(32)).astype(np.int64)
        return ((int(stream_id) >> 1) * _SCATTER & _WORD) * self.batches >> 32

    def reconnect_after_s(self, batch: int) -> float:
        """The batch's reconnect delay, from the moment the plan is made; it rises with the batch."""
        return self._delays_s[batch]

    def ends_after_s(self, batch: int) -> float:
        """When the server ends the batch's streams, from the same moment."""
        return self._delays_s[batch] + self._patience_s
