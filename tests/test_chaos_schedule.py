"""Chaos strikes in a seeded order that leaves nothing out."""

from __future__ import annotations

import itertools
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from mesh.chaos.schedule import (
    GAP_MAX_S,
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    RECOVERY_S,
    Kind,
    schedule,
)
from mesh.chaos.stage import TARGETS

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_a_seed_always_gives_the_same_strikes(seed: int) -> None:
    assert schedule(seed, 60, TARGETS) == schedule(seed, 60, TARGETS)


def test_seeds_differ() -> None:
    assert len({tuple(schedule(seed, 60, TARGETS)) for seed in range(50)}) == 50


@given(SEEDS)
def test_a_minute_strikes_every_process_and_in_every_way(seed: int) -> None:
    strikes = schedule(seed, 60, TARGETS)
    assert {strike.target for strike in strikes} == set(TARGETS)
    assert {Kind.KILL, Kind.PAUSE, Kind.RESTART} <= {strike.kind for strike in strikes}


@given(SEEDS)
def test_three_minutes_strike_every_process_in_every_way(seed: int) -> None:
    struck = {(strike.target, strike.kind) for strike in schedule(seed, 180, TARGETS)}
    everything = {(target, kind) for target in TARGETS for kind in (Kind.KILL, Kind.PAUSE, Kind.RESTART)}
    assert everything | {("valkey", Kind.EMPTY)} <= struck


@given(SEEDS, st.floats(5, 120))
def test_strikes_are_in_time_and_leave_who_is_struck_time_to_come_back(seed: int, seconds: float) -> None:
    strikes = schedule(seed, seconds, TARGETS)
    assert strikes == sorted(strikes, key=lambda strike: strike.at_s)
    by_target = defaultdict(list)
    for strike in strikes:
        assert strike.at_s < seconds
        assert (PAUSE_MIN_S <= strike.for_s <= PAUSE_MAX_S) == (strike.kind is Kind.PAUSE)
        by_target[strike.target].append(strike)
    for of_one in by_target.values():
        for before, after in itertools.pairwise(of_one):
            assert after.at_s >= before.at_s + before.for_s + RECOVERY_S - 0.01


@given(SEEDS)
def test_strikes_follow_each_other_and_some_fall_together(seed: int) -> None:
    strikes = schedule(seed, 300, TARGETS)
    gaps = [after.at_s - before.at_s for before, after in itertools.pairwise(strikes)]
    assert max(gaps) < 2 * GAP_MAX_S
    assert 0 in gaps
