"""How the demo's simulated viewers behave: what they prefer, and how often they react. Pure; randomness comes
in.

Preferences are weights that drift, so that the bars of a poll move and the lead changes. Reactions come at a
low rate, with bursts as after a goal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

DRIFT_PER_S = 0.15
WEIGHT_SPAN = 0.9
MURMUR_PER_S = 0.6
BURST_GAP_S = (9.0, 26.0)
BURST_PEAK_PER_S = (7.0, 18.0)
BURST_FADE_S = (1.0, 2.5)


class Preferences:
    """Drifting preferences among the options of one poll."""

    def __init__(self, options: Sequence[str], random: Random) -> None:
        self._options = list(options)
        self._random = random
        self._weights = [random.uniform(-0.5, 0.5) for _ in self._options]

    def drift(self, elapsed_s: float) -> None:
        """A random walk that stays within bounds, so no option is ever without hope."""
        step = DRIFT_PER_S * math.sqrt(elapsed_s)
        self._weights = [
            max(-WEIGHT_SPAN, min(WEIGHT_SPAN, weight + self._random.gauss(0.0, step)))
            for weight in self._weights
        ]

    def choose(self) -> str:
        return self._random.choices(self._options, [math.exp(weight) for weight in self._weights])[0]


class Excitement:
    """The rate of reactions at a moment, and which kind leads."""

    def __init__(self, kinds: Sequence[str], random: Random, now_s: float) -> None:
        self._kinds = list(kinds)
        self._random = random
        self._lead = self._kinds[0]
        self._peak_per_s = 0.0
        self._fade_s = 1.0
        self._began_s = now_s
        self._next_s = now_s + random.uniform(2.0, 6.0)

    def rate_per_s(self, now_s: float) -> float:
        """Rises at once when something happens and fades from there; a murmur between."""
        if now_s >= self._next_s:
            self._began_s = now_s
            self._lead = self._random.choice(self._kinds)
            self._peak_per_s = self._random.uniform(*BURST_PEAK_PER_S)
            self._fade_s = self._random.uniform(*BURST_FADE_S)
            self._next_s = now_s + self._random.uniform(*BURST_GAP_S)
        return MURMUR_PER_S + self._peak_per_s * math.exp((self._began_s - now_s) / self._fade_s)

    def kind(self, now_s: float) -> str:
        """Mostly the leading kind while a burst lasts, any kind otherwise."""
        burst = self.rate_per_s(now_s) > 2 * MURMUR_PER_S
        return self._lead if burst and self._random.random() < 0.8 else self._random.choice(self._kinds)
