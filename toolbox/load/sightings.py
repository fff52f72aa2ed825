"""Vote to screen: from the call that sends a vote to the first update that includes it. Pure.

A vote is on screen when a watcher has a state of the poll whose cursor holds the vote's position.
Which comes first is open: the Ack (which tells the position) and the update (which shows it)
travel on different streams. So both are remembered: what the watcher saw, by partition, as
(sequence, moment) in rising order, and the acked votes that it has not seen yet.

A position is the newest of all that one Ack adds, so a duration is never too short.

Bounds: `HISTORY_MAX` sightings by partition (an Ack that comes later than those is measured
from the oldest one kept, which is again never too short) and `WAITING_MAX` unseen votes; beyond it a
vote is not measured and counted in `unmeasured`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

from toolbox.load.latencies import Latencies

HISTORY_MAX = 1_024
WAITING_MAX = 200_000


class Sightings:
    """The moments one watcher saw a topic reach its sequences."""

    def __init__(self, latencies: Latencies | None = None) -> None:
        self.latencies = Latencies() if latencies is None else latencies
        self.unmeasured = 0
        self._seen: dict[int, deque[tuple[int, float]]] = {}
        self._waiting: dict[int, list[tuple[int, float]]] = {}
        self._waiting_count = 0

    @property
    def waiting(self) -> int:
        """How many acked votes are not on screen yet."""
        return self._waiting_count

    def saw(self, partition: int, sequence: int, now_s: float) -> None:
        """The topic's cursor holds (partition, sequence) at `now_s`."""
        seen = self._seen.get(partition)
        if seen is None:
            seen = self._seen[partition] = deque(maxlen=HISTORY_MAX)
        if seen and seen[-1][0] >= sequence:
            return
        seen.append((sequence, now_s))
        waiting = self._waiting.get(partition)
        while waiting and waiting[0][0] <= sequence:
            _, sent_s = heappop(waiting)
            self._waiting_count -= 1
            self.latencies.add(now_s - sent_s)

    def acked(self, positions: Iterable[tuple[int, int]], sent_s: float) -> None:
        """A vote sent at `sent_s` is stored; a state that holds all of `positions` includes it.

        One position is the rule. Of several, the one that is seen last decides; only the
        first that is not seen yet is waited for, which is exact but for ties between partitions.
        """
        seen_s = sent_s
        for partition, sequence in positions:
            seen = self._seen.get(partition)
            if not seen or seen[-1][0] < sequence:
                if self._waiting_count >= WAITING_MAX:
                    self.unmeasured += 1
                    return
                heappush(self._waiting.setdefault(partition, []), (sequence, sent_s))
                self._waiting_count += 1
                return
            seen_s = max(seen_s, seen[bisect_left(seen, (sequence, float("-inf")))][1])
        self.latencies.add(seen_s - sent_s)
