"""The overload level of a gateway, and the update rates that follow from it. Pure.

The gateway lowers its viewers' rates before it refuses new ones, and refuses new ones before it drops any. At
level 0 every viewer gets the rate that it asked for. Each level above halves the rates of viewers without a
token, and from VIEWERS_FROM on those of viewers with one; producers (dashboards, casters' tools) keep theirs.
A rate never falls below RENDITION_UPDATES_PER_S_MIN. At FULL_LEVEL nothing is left to lower, and new viewers
are refused.

The level rises by one for each RISE_S above the high threshold and falls by one for each FALL_S below the low
one: ten times too much load is answered within seconds, and rates recover slowly. It does not oscillate:
leaving a level at most doubles what updates cost, and COOL_BUSY is less than half of HOT_BUSY, so a level
that was left is not entered again at the same load. The last level lowers no rates, so leaving it has a laxer
threshold. Between the thresholds the level stays.

A clock that goes back counts as one that stands still; a share that is NaN is neither high nor low.

Rejected: a PI controller on the rate: smooth, but a new rate for every viewer each second, which splits
cohorts and has to be announced in each stream. A filter over the measures: after each step it remembers the
load before it, and steps again.
"""

from __future__ import annotations

from enum import IntEnum

from gateway import bounds
from grandstand.wire import bounds as wire_bounds

# Of one CPU. Above it a burst of a tenth of a second is felt as lateness by everybody.
HOT_BUSY = 0.85
# Less than half of it: the load doubles at most when a level is left.
COOL_BUSY = 0.4
# A level that lowers no rates is left as soon as there is some room.
COOL_FULL_BUSY = 0.7
# The loop's timer this late: five ticks are missed, though this process may use little: then others take
# the CPU, of which Envoy is the likeliest, and it has less to do when less is sent. A busy machine alone is
# not so late.
HOT_LAG_S = 5 * bounds.TICK_S
COOL_LAG_S = HOT_LAG_S / 2
# One observation counts for at most this long: a process that was stopped is not overloaded by that.
LOOK_MAX_S = 0.3
# A burst of joins is over in a second; ten times too much load, which takes four levels, in a few.
RISE_S = 0.75
# Longer than the lull between two questions of a show; each step is announced to all affected viewers.
FALL_S = 5.0
# Viewers' rates are halved once those without a token have an eighth.
VIEWERS_FROM = 4
# At this level a viewer that asked for the maximum rate has the minimum.
FULL_LEVEL = 10

assert 2 * COOL_BUSY < HOT_BUSY, "a level that was left is not taken again at the same load"
assert COOL_BUSY < COOL_FULL_BUSY < HOT_BUSY
assert COOL_LAG_S < HOT_LAG_S
assert 2 * LOOK_MAX_S < RISE_S < FALL_S, "three observations in a row make a step"
assert (
    wire_bounds.UPDATES_PER_S_MAX / 2 ** (FULL_LEVEL - VIEWERS_FROM) <= bounds.RENDITION_UPDATES_PER_S_MIN
), "all is lowered before anybody is refused"


class Tier(IntEnum):
    """Kinds of viewer, in the order in which their rates are lowered."""

    ANONYMOUS = 0
    """Without a token."""
    VIEWER = 1
    """With a viewer's token, or a guest's."""
    PRODUCER = 2


class Overload:
    """Of one gateway process. `now_s`: seconds of any clock, the same in all calls."""

    def __init__(self) -> None:
        self.level = 0
        self.busy = 0.0
        """As last observed."""
        self._lag_s = 0.0
        self._seen_at_s: float | None = None
        self._hot_s = 0.0
        self._cool_s = 0.0
        self._rose = False

    @property
    def is_full(self) -> bool:
        """New viewers are to be refused."""
        return self.level >= FULL_LEVEL

    def observe(self, busy: float, lag_s: float, now_s: float) -> bool:
        """To be called every LOOK_MAX_S or a little oftener. `busy`: the share of one CPU that the process
        used since the last call; `lag_s`: how late the loop's timer was. True if the level changed, by
        one."""
        since_s = 0.0 if self._seen_at_s is None else min(max(0.0, now_s - self._seen_at_s), LOOK_MAX_S)
        self._seen_at_s = now_s
        self.busy, self._lag_s = busy, lag_s
        is_hot = busy > HOT_BUSY or lag_s > HOT_LAG_S
        is_cool = busy < (COOL_FULL_BUSY if self.is_full else COOL_BUSY) and lag_s < COOL_LAG_S
        self._hot_s = self._hot_s + since_s if is_hot else 0.0
        self._cool_s = self._cool_s + since_s if is_cool else 0.0
        step = 0
        if self._hot_s >= RISE_S and not self.is_full:
            step = 1
        elif self._cool_s >= FALL_S and self.level:
            step = -1
        if step:
            self.level += step
            self._rose = step > 0
            self._hot_s = self._cool_s = 0.0
        return step != 0

    def updates_per_s(self, asked: int, tier: Tier) -> float:
        """The rate of a viewer that asked for `asked`, 1 or more; at most that."""
        if tier is Tier.PRODUCER:
            return float(asked)
        last = FULL_LEVEL - 1
        halved = min(self.level, last)
        if tier is Tier.VIEWER:
            halved = max(0, halved - VIEWERS_FROM + 1)
        return min(float(asked), max(bounds.RENDITION_UPDATES_PER_S_MIN, asked * 0.5**halved))

    def reason(self) -> str:
        """Why rates are what they are, for a person."""
        if not self.level:
            return "this gateway has cooled down: updates come as often as asked for"
        where = f"level {self.level} of {FULL_LEVEL}"
        if not self._rose:
            return f"this gateway cools down ({where}): updates come more often again"
        late = f"its timers are {self._lag_s * 1e3:.0f} ms late"
        why = late if self._lag_s > HOT_LAG_S else f"it uses {self.busy:.0%} of a CPU"
        return f"this gateway runs hot ({why}; {where}): updates come less often, and none is lost"
