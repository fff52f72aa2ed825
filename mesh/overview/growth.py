"""How fast the counters of one process grow, from what it says of itself now and then. Pure.

    a counter that is less than before    began again: it grew by what it says now
    another life (`began`)                nothing is known of the time between: the window begins again
    a time that went back                 the same
    the same time again                   said twice, as by a cache: nothing new
    a value that is missing               not a step: growth is known again with the next two

`at` is a clock of the process, or of who scrapes it: a receiver that was held up hears ten seconds at once,
and its own clock would make them one burst.

Bound: what came in the last KEPT_S, at most SAMPLES_MAX of it; on overflow the oldest goes. A process without
a canary is kept for RATES_S only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from grandstand.internal.v1.internal_pb2 import ProcessLoad
from mesh.overview.loads import COUNTERS

RATES_S = 10.0
KEPT_S = 60.0
SAMPLES_MAX = 256

FIELDS = tuple(each.field for each in COUNTERS)

_Sample = tuple[float, list[float | None], list[float], float]
"""When; how much each of FIELDS grew since the window began, None where it was not told; and each bucket; the
lag."""


class Growth:
    def __init__(self) -> None:
        self._last = ProcessLoad()
        self._grown: list[float] = []
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES_MAX)

    def hear(self, load: ProcessLoad) -> bool:
        """Whether it says something new. `load`: as mesh.overview.loads makes or checks it."""
        last, samples = self._last, self._samples
        if samples and load.began == last.began and load.at == last.at:
            return False
        self._last = load
        goes_on = load.began == last.began and load.at > last.at
        if not samples or not goes_on or load.freshness_bounds != last.freshness_bounds:
            samples.clear()
            self._grown = [0.0] * len(FIELDS)
            buckets = [0.0] * len(load.freshness_counts)
        else:
            self._grown = _sums(self._grown, [_step(last, load, field) for field in FIELDS])
            steps = _bucket_steps(last.freshness_counts, load.freshness_counts)
            buckets = _sums(samples[-1][2], steps)
        told = [at if load.HasField(field) else None for at, field in zip(self._grown, FIELDS, strict=True)]
        samples.append((load.at, told, buckets, load.lag_seconds))
        kept_s = KEPT_S if load.freshness_counts or load.HasField("votes_not_acked") else RATES_S
        while len(samples) > 2 and samples[1][0] <= load.at - kept_s:
            samples.popleft()
        return True

    def rate(self, field: str) -> float | None:
        """A second, over the last RATES_S; None while it is not known."""
        at = FIELDS.index(field)
        if not self._samples or (newest := self._samples[-1][1][at]) is None:
            return None
        when_s, grown = self._before(RATES_S, at)
        passed_s = self._last.at - when_s
        return (newest - grown) / passed_s if passed_s > 0 else None

    def grown(self, field: str) -> float:
        """In the last KEPT_S."""
        at = FIELDS.index(field)
        return self._grown[at] - self._before(KEPT_S, at)[1] if self._samples else 0.0

    def buckets(self) -> tuple[Sequence[float], list[float]]:
        """Bounds and cumulated counts of the freshness of the last KEPT_S; empty without a canary."""
        if not self._samples:
            return (), []
        first, last = self._samples[0][2], self._samples[-1][2]
        return self._last.freshness_bounds, [now - then for then, now in zip(first, last, strict=True)]

    def lag_peak(self) -> float:
        """The greatest of what is kept."""
        return max((lag for _, _, _, lag in self._samples), default=0.0)

    def _before(self, window_s: float, field: int) -> tuple[float, float]:
        """When the window began and what had grown then, by the oldest sample in it that tells."""
        since_s = self._last.at - window_s
        for at_s, told, _, _ in self._samples:
            if at_s >= since_s and (value := told[field]) is not None:
                return at_s, value
        return self._last.at, self._grown[field]


def _sums(one: list[float], other: list[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _step(last: ProcessLoad, load: ProcessLoad, field: str) -> float:
    if not (last.HasField(field) and load.HasField(field)):
        return 0.0
    was: float = getattr(last, field)
    now: float = getattr(load, field)
    return now - was if now >= was else now


def _bucket_steps(was: Sequence[float], now: Sequence[float]) -> list[float]:
    """One that is less than before says that all began again."""
    if any(b < a for a, b in zip(was, now, strict=True)):
        return list(now)
    return [b - a for a, b in zip(was, now, strict=True)]
