"""How hot a gateway runs, and whose updates it then sends less often: nobody's for nothing, and steadily."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from gateway.overload import (
    COOL_BUSY,
    COOL_FULL_BUSY,
    COOL_LAG_S,
    FALL_S,
    FULL_LEVEL,
    HOT_BUSY,
    HOT_LAG_S,
    RISE_S,
    VIEWERS_FROM,
    Overload,
    Tier,
)
from grandstand.wire import bounds as wire_bounds

LOOK_S = 0.25
ASKED = st.integers(1, wire_bounds.UPDATES_PER_S_MAX)
LEAST = gateway_bounds.RENDITION_UPDATES_PER_S_MIN


@dataclass
class Gateway:
    """Costs so much a frame, and something besides; what is more than a whole CPU makes its timers late."""

    us_per_frame: float = 20.0
    other: float = 0.05
    viewers: dict[tuple[Tier, int], int] = field(default_factory=dict)
    """How many of a tier that asked for this many updates a second."""
    noise: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        self.overload = Overload()
        self.now_s = 1_000.0
        self.changed_at_s = list[float]()
        self._random = random.Random(self.seed)

    def cost(self) -> float:
        """CPUs that its work needs."""
        frames = sum(
            n * self.overload.updates_per_s(asked, tier) for (tier, asked), n in self.viewers.items()
        )
        return (self.other + frames * self.us_per_frame / 1e6) * self._random.uniform(
            1 - self.noise, 1 + self.noise
        )

    def run(self, for_s: float) -> None:
        for _ in range(round(for_s / LOOK_S)):
            cost = self.cost()
            self.now_s += LOOK_S
            if self.overload.observe(min(1.0, cost), max(0.0, cost - 1) * LOOK_S, self.now_s):
                self.changed_at_s.append(self.now_s)

    def changes(self, last_s: float) -> int:
        return sum(at_s > self.now_s - last_s for at_s in self.changed_at_s)


crowds = st.dictionaries(
    st.tuples(st.sampled_from(Tier), ASKED), st.integers(0, 20_000), min_size=1, max_size=6
)


@given(crowds, st.floats(1.0, 60.0), st.floats(0.0, 0.3), st.floats(0.0, 0.04), st.integers())
def test_whatever_the_crowd_it_settles_does_not_oscillate_and_recovers(
    viewers: dict[tuple[Tier, int], int], us_per_frame: float, other: float, noise: float, seed: int
) -> None:
    gateway = Gateway(us_per_frame, other, viewers, noise, seed)
    gateway.run(120)
    # With a cost at the very bound it is chance when the one step comes that leads away from it.
    assert gateway.changes(last_s=60) <= (1 if noise else 0), "it settled"
    if not gateway.overload.is_full:
        assert gateway.cost() < HOT_BUSY * (1 + 3 * noise) + 1e-9 < 1
    viewers.clear()
    gateway.other = 0.1
    gateway.run((FULL_LEVEL + 1) * FALL_S)
    assert gateway.overload.level == 0
    assert gateway.changes(last_s=FALL_S) == 0


def test_ten_times_too_much_is_answered_within_seconds_and_nobody_with_a_token_pays_for_the_others() -> None:
    gateway = Gateway(viewers={(Tier.ANONYMOUS, 20): 20_000, (Tier.VIEWER, 20): 100, (Tier.PRODUCER, 20): 10})
    assert gateway.cost() > 8
    gateway.run(5)
    assert gateway.cost() < HOT_BUSY
    assert gateway.overload.updates_per_s(20, Tier.PRODUCER) == 20
    gateway.run(60)
    assert gateway.changes(last_s=55) == 0
    assert not gateway.overload.is_full


def test_a_gateway_that_cannot_cool_down_takes_no_more_viewers_until_it_has() -> None:
    gateway = Gateway(viewers={(Tier.PRODUCER, 20): 10_000})
    gateway.run((FULL_LEVEL + 1) * RISE_S)
    assert gateway.overload.is_full
    assert "level 10 of 10" in gateway.overload.reason()
    # Some left: that much room is enough to take others, and rates stay as they are.
    gateway.viewers = {(Tier.PRODUCER, 20): 1_500}
    assert COOL_BUSY < gateway.cost() < COOL_FULL_BUSY
    gateway.run(60)
    assert not gateway.overload.is_full
    assert gateway.overload.level == FULL_LEVEL - 1


def test_a_burst_of_joins_lowers_no_rate_and_neither_does_a_hiccup_however_long() -> None:
    overload = Overload()
    looks = (
        (0.0, 0.1, 0.0),
        (0.25, 1.0, 0.3),
        (0.5, 1.0, 0.3),
        (0.75, 0.3, 0.0),
        (1.0, 1.0, 0.4),
        (1.3, 0.1, 0.0),
    )
    for now_s, busy, lag_s in (*looks, (61.3, 0.0, 60.0), (61.5, 0.2, 0.0)):
        assert not overload.observe(busy, lag_s, now_s)
    assert overload.level == 0


def test_what_is_cool_only_now_and_then_does_not_cool_down() -> None:
    overload = heated(2)
    for n in range(200):
        assert not overload.observe(0.1 if n % 4 else 0.6, 0.0, 1_000.0 + n)
    assert overload.level == 2


def test_it_rises_and_falls_by_one_step_at_a_time_and_falls_slowly() -> None:
    overload, now_s, rose = Overload(), 0.0, list[float]()
    while not overload.is_full:
        before = overload.level
        now_s += LOOK_S
        if overload.observe(1.0, 0.0, now_s):
            rose.append(now_s)
            assert overload.level == before + 1
    steps = [late - early for early, late in itertools.pairwise(rose)]
    assert all(step == pytest.approx(RISE_S) for step in steps)
    fell = list[float]()
    while overload.level:
        now_s += LOOK_S
        if overload.observe(0.0, 0.0, now_s):
            fell.append(now_s)
    assert [late - early for early, late in itertools.pairwise(fell)] == [FALL_S] * (FULL_LEVEL - 1)
    assert not overload.observe(0.0, 0.0, now_s + 100)


@pytest.mark.parametrize(
    ("busy", "lag_s", "level"),
    [
        (HOT_BUSY, HOT_LAG_S, 3),
        (HOT_BUSY + 0.01, 0.0, 4),
        (0.0, HOT_LAG_S + 0.001, 4),
        (COOL_BUSY, 0.0, 3),
        (0.0, COOL_LAG_S, 3),
        (COOL_BUSY - 0.01, COOL_LAG_S / 2, 2),
        (float("nan"), 0.0, 3),
        (-1.0, float("nan"), 3),
        (float("inf"), 0.0, 4),
    ],
)
def test_heat_is_cpu_or_lateness_and_coolness_is_both(busy: float, lag_s: float, level: int) -> None:
    overload, now_s = Overload(), 0.0
    while overload.level < 3:
        now_s += LOOK_S
        overload.observe(1.0, 0.0, now_s)
    overload.observe(0.6, 0.0, now_s)
    for _ in range(round(FALL_S / LOOK_S)):
        now_s += LOOK_S
        if overload.observe(busy, lag_s, now_s):
            break
    assert overload.level == level


def test_a_clock_that_goes_back_moves_nothing() -> None:
    overload = Overload()
    overload.observe(1.0, 0.0, 1e9)
    for now_s in (1e9, 1e6, 0.0, -1e9):
        assert not overload.observe(1.0, 0.0, now_s)


def heated(level: int) -> Overload:
    overload, now_s = Overload(), 0.0
    while overload.level < level:
        now_s += LOOK_S
        overload.observe(1.0, 0.0, now_s)
    return overload


@given(st.integers(0, FULL_LEVEL - 1), ASKED, st.sampled_from(Tier))
def test_a_level_more_at_most_halves_a_rate_and_never_raises_one(level: int, asked: int, tier: Tier) -> None:
    less, more = (heated(n).updates_per_s(asked, tier) for n in (level, level + 1))
    assert LEAST <= more <= less <= asked
    assert more >= less / 2
    assert heated(0).updates_per_s(asked, tier) == asked


@given(st.integers(0, FULL_LEVEL), ASKED)
def test_low_tiers_come_first(level: int, asked: int) -> None:
    overload = heated(level)
    rates = [overload.updates_per_s(asked, tier) for tier in Tier]
    assert rates == sorted(rates)
    assert rates[Tier.PRODUCER] == asked
    if 0 < level < VIEWERS_FROM:
        assert rates[Tier.VIEWER] == asked
        assert rates[Tier.ANONYMOUS] == max(LEAST, asked / 2**level)


def test_everything_is_lowered_before_anybody_is_refused() -> None:
    before, full = heated(FULL_LEVEL - 1), heated(FULL_LEVEL)
    assert (before.is_full, full.is_full) == (False, True)
    for overload in (before, full):
        assert [overload.updates_per_s(20, tier) for tier in Tier] == [LEAST, LEAST, 20]


def test_the_reason_says_what_is_hot_and_whether_it_gets_better() -> None:
    overload = Overload()
    assert "cooled down" in overload.reason()
    for n in range(4):
        overload.observe(0.93, 0.0, n * LOOK_S)
    assert "runs hot (it uses 93% of a CPU; level 1 of 10): updates come less often" in overload.reason()
    for n in range(4, 7):
        overload.observe(0.5, 0.3, n * LOOK_S)
    assert "its timers are 300 ms late; level 2" in overload.reason()
    for n in range(7, 28):
        overload.observe(0.1, 0.0, n * LOOK_S)
    assert "cools down (level 1 of 10): updates come more often again" in overload.reason()
