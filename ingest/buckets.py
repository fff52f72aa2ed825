"""Token buckets by key. Pure.

A bucket is kept as one number, the theoretical arrival time (TAT) of the virtual scheduling algorithm, GCRA:
ITU-T I.371 annex A, ATM Forum Traffic Management 4.0. An event that comes at t moves it to max(TAT, t) +
1/rate; the event is within while TAT stays at most burst/rate ahead of t. So over any interval of s seconds
at most burst + rate*s events are within. A bucket whose TAT has passed is a full one: it can be forgotten
without any change of meaning.

Rejected: tokens and a time of refill for each key: two numbers, and a refill to compute. Fixed windows: twice
the rate passes at their edges. A sliding log: memory for each event. A sketch of rates: an actor would pay
for another's collisions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from grandstand.wire import bounds as wire_bounds
from ingest import bounds

# How many keys an insertion into a full table looks at.
_SWEEP_KEYS = 8
# A clock that steps back less than this is read twice; one that steps back further was set.
_CLOCK_STEP_S = 1.0
# Of an event: a sum of floats must not cost the last one of a burst.
_ROUNDING = 1e-6


class Rate(NamedTuple):
    """A token bucket's measures."""

    per_s: float
    """Sustained events a second."""
    burst: float
    """Events at once, 1 or more."""

    def slack_s(self, share: float = 1.0) -> float:
        """How far ahead of the clock a TAT may be for one more event within this share of the burst."""
        return (max(0.0, share * self.burst - 1) + _ROUNDING) / self.per_s


class SteadyClock:
    """Turns any clock into one that begins at 0 and never goes back: set back, it stands still once.

    It also keeps the numbers small: at 1.8e9 s a float is too coarse for 100,000 events a second.
    """

    def __init__(self) -> None:
        self.offset_s = math.nan
        """From the clock to this one; nan before the first call."""
        self.latest_s = 0.0

    def at(self, now_s: float) -> float:
        """Seconds since the first call; `now_s` is the clock that is made steady."""
        if math.isnan(self.offset_s):
            self.offset_s = -now_s
        steady_s = now_s + self.offset_s
        if steady_s > self.latest_s:
            self.latest_s = steady_s
        elif steady_s < self.latest_s - _CLOCK_STEP_S:
            self.offset_s = self.latest_s - now_s
        return self.latest_s


def checked(rate: Rate) -> tuple[float, float]:
    """Seconds an event takes, and how far ahead of the clock a TAT may be before one more. Raises ValueError
    for a rate that is not positive or a burst below 1."""
    if not (0 < rate.per_s < float("inf") and 1 <= rate.burst < float("inf")):
        raise ValueError(
            f"rate {rate.per_s:g}/s, burst {rate.burst:g}: more than 0 and at least 1 are needed"
        )
    return 1 / rate.per_s, rate.slack_s()


class Buckets:
    """A token bucket for each key of each group, all of one rate; at most `keys_max` in all are remembered.
    `now_s` never goes back (SteadyClock). Raises ValueError for a rate that is not positive or a burst below
    1.

    A new key takes the place of one that owes nothing since BUCKET_IDLE_S, if one of the next two in turn is
    such: so the table grows with the keys of a minute or two, and not with all there ever were.
    Overflow: a key that is new to a full table takes another's place. The sweep looks at the next
    _SWEEP_KEYS keys, in turn (CLOCK), and forgets the first whose TAT has passed, which changes
    nothing; if all of them owe, the one that owes least: it gains least by being forgotten, at
    most its burst. With `keys_max` well above what can owe at once, only then does a limit leak.
    A name longer than an id may be is not remembered: such keys share one bucket, and such groups are one.

    Rejected: refusing new keys, since a crowd of strangers could then shut everybody out; evicting
    the oldest, since a flooder is the oldest; sweeping all, since one call would pay for it. A group and a
    key as one tuple: to make and hash it for each event costs more than finding a group for each batch.
    """

    def __init__(self, rate_per_s: float, burst: float, keys_max: int) -> None:
        if keys_max < 1:
            raise ValueError(f"keys_max: is {keys_max}; 1 or more is needed")
        self.event_s, self.slack_s = checked(Rate(rate_per_s, burst))
        self.groups: dict[str, dict[str, float]] = {"": {}}
        """The TAT by key, by group. For Admission, which reads and moves what is there itself. A group other
        than "" is there while it has a key."""
        self.tat_s = self.groups[""]
        """Of keys without a group."""
        self._keys_max = keys_max
        self._ring: list[tuple[str, str, dict[str, float]]] = []
        """Of each key its group, itself, and its group's TATs, which are the same dict while it has a key."""
        self._hand = 0

    def __len__(self) -> int:
        return len(self._ring)

    def take(self, key: str, now_s: float, count: int = 1) -> float:
        """Takes `count` events, whatever there is; seconds until the debt is paid, 0.0 when within."""
        tat_s = max(self.tat(key), now_s) + count * self.event_s
        self.move(key, tat_s, now_s)
        return max(0.0, tat_s - self.event_s - self.slack_s - now_s)

    def has_room(self, key: str, now_s: float, count: int = 1) -> bool:
        """Whether `take` would answer 0.0."""
        return max(self.tat(key), now_s) + (count - 1) * self.event_s <= self.slack_s + now_s

    def tat(self, key: str, group: str = "") -> float:
        """The key's TAT; -inf of one that is not remembered."""
        if len(key) > wire_bounds.ACTOR_ID_BYTES_MAX:
            key = ""
        if len(group) > wire_bounds.ID_CHARACTERS_MAX:
            group = ""
        tats = self.groups.get(group)
        return float("-inf") if tats is None else tats.get(key, float("-inf"))

    def move(self, key: str, tat_s: float, now_s: float, group: str = "") -> None:
        """Sets the key's TAT, making room for it when it is new."""
        if len(key) > wire_bounds.ACTOR_ID_BYTES_MAX:
            key = ""
        if len(group) > wire_bounds.ID_CHARACTERS_MAX:
            group = ""
        tats = self.groups.get(group)
        if tats is None or key not in tats:
            self.add(key, tat_s, now_s, group)
        else:
            tats[key] = tat_s

    def add(self, key: str, tat_s: float, now_s: float, group: str = "") -> dict[str, float]:
        """Makes room for a key that is not there; neither name is longer than an id may be. Returns the
        group's TATs."""
        ring = self._ring
        at: int | None = self._hand
        if len(ring) < self._keys_max:
            at = self._idle(now_s)
        elif self._tat_at(self._hand) <= now_s:  # by far the most
            self._hand = (self._hand + 1) % self._keys_max
        else:
            at = self._place(now_s)
        if at is not None:
            old_group, old_key, old_tats = ring[at]
            del old_tats[old_key]
            if old_group and not old_tats:
                del self.groups[old_group]
        tats = self.groups.get(group)
        if tats is None:
            tats = self.groups[group] = {}
        tats[key] = tat_s
        if at is None:
            ring.append((group, key, tats))
        else:
            ring[at] = group, key, tats
        return tats

    def _idle(self, now_s: float) -> int | None:
        """The place of one of the next two keys in the ring, if it is idle. Two: the hand goes round faster
        than the ring grows."""
        for _ in range(min(2, len(self._ring))):
            at = self._hand
            self._hand = (at + 1) % len(self._ring)
            if self._tat_at(at) <= now_s - bounds.BUCKET_IDLE_S:
                return at
        return None

    def _place(self, now_s: float) -> int:
        """The place in the ring whose key is forgotten for another."""
        least, least_s = self._hand, float("inf")
        for _ in range(min(_SWEEP_KEYS, self._keys_max)):
            at = self._hand
            self._hand = (at + 1) % self._keys_max
            tat_s = self._tat_at(at)
            if tat_s < least_s:
                least, least_s = at, tat_s
                if tat_s <= now_s:
                    break
        return least

    def _tat_at(self, at: int) -> float:
        _, key, tats = self._ring[at]
        return tats[key]
