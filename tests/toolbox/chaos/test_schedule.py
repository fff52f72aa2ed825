"""Chaos strikes in a seeded order that leaves nothing out."""

from __future__ import annotations

import itertools
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from mesh import limits
from toolbox.chaos import gray
from toolbox.chaos.closings import closings
from toolbox.chaos.schedule import (
    FREEZE_MAX_S,
    FREEZE_MIN_S,
    GAP_MAX_S,
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    RECOVERY_S,
    schedule,
)
from toolbox.chaos.stage import TARGETS
from toolbox.chaos.strike import ALL, GRAY, ONE, Kind
from toolbox.local.lifecycle import Policy
from toolbox.local.probe import TIMEOUT_S
from toolbox.local.supervisor import PROBE_READY_S

SEEDS = st.integers(0, 2**32)
LENGTHS = {
    Kind.PAUSE: (PAUSE_MIN_S, PAUSE_MAX_S),
    Kind.FREEZE: (FREEZE_MIN_S, FREEZE_MAX_S),
    Kind.CUT: (FREEZE_MIN_S, FREEZE_MAX_S),
}


@given(SEEDS)
def test_a_seed_always_gives_the_same_strikes(seed: int) -> None:
    assert schedule(seed, 60, TARGETS) == schedule(seed, 60, TARGETS)


def test_seeds_differ() -> None:
    assert len({tuple(schedule(seed, 60, TARGETS)) for seed in range(50)}) == 50


@given(SEEDS)
def test_a_minute_strikes_every_process_and_in_every_way(seed: int) -> None:
    strikes = schedule(seed, 60, TARGETS)
    assert set(TARGETS) <= {strike.target for strike in strikes}
    assert len([strike for strike in strikes if strike.kind in GRAY]) >= 3
    assert set(Kind) - {Kind.EMPTY} - GRAY <= {strike.kind for strike in strikes}
    assert {ALL, ONE} <= {strike.target for strike in strikes if strike.kind is Kind.REBUILD}
    assert {"ingest", "aggregate"} == {s.target[:-2] for s in strikes if s.kind is Kind.FREEZE}


@given(SEEDS)
def test_half_a_minute_has_every_strike_that_a_process_cannot_see_coming(seed: int) -> None:
    """What CI runs."""
    new = {Kind.FREEZE, Kind.CUT, Kind.REBUILD, Kind.FORGET}
    assert new <= {strike.kind for strike in schedule(seed, 30, TARGETS)}


@given(SEEDS)
def test_five_minutes_strike_every_process_in_every_way(seed: int) -> None:
    struck = {(strike.target, strike.kind) for strike in schedule(seed, 300, TARGETS)}
    everything = {(target, kind) for target in TARGETS for kind in (Kind.KILL, Kind.PAUSE, Kind.RESTART)}
    # An ingest that is frozen again and again has little time to be stopped for less.
    frozen = {(f"ingest-{n}", Kind.PAUSE) for n in (1, 2)}
    assert (everything | {("valkey", Kind.EMPTY)}) - frozen <= struck


@given(SEEDS, st.floats(5, 120))
def test_strikes_are_in_time_and_leave_who_is_struck_time_to_come_back(seed: int, seconds: float) -> None:
    strikes = schedule(seed, seconds, TARGETS)
    assert strikes == sorted(strikes, key=lambda strike: strike.at_s)
    by_target = defaultdict(list)
    for strike in strikes:
        assert strike.at_s < seconds
        least, most = LENGTHS.get(strike.kind, (0, gray.LONG_S[1] if strike.kind in GRAY else 0))
        assert least <= strike.for_s <= most
        by_target[strike.target].append(strike)
    for target in TARGETS:
        of_one = by_target[target]
        for before, after in itertools.pairwise(of_one):
            assert after.at_s >= before.at_s + before.for_s + RECOVERY_S - 0.01


@given(SEEDS)
def test_strikes_follow_each_other_and_some_fall_together(seed: int) -> None:
    strikes = schedule(seed, 300, TARGETS)
    gaps = [after.at_s - before.at_s for before, after in itertools.pairwise(strikes)]
    assert max(gaps) < 2 * GAP_MAX_S
    assert 0 in gaps


@given(SEEDS)
def test_polls_close_while_an_ingest_or_a_worker_is_frozen_and_are_sealed_before_it_wakes(seed: int) -> None:
    strikes = schedule(seed, 60, TARGETS)
    closed_at = [closing.at_s for closing in closings(seed, 60, strikes) if closing.by_hand]
    for strike in strikes:
        if strike.kind in (Kind.FREEZE, Kind.CUT):
            assert any(
                strike.at_s < at_s
                and at_s + limits.CLOSE_LEAD_S + limits.SEAL_GRACE_S < strike.at_s + strike.for_s
                for at_s in closed_at
            )


@given(SEEDS, st.floats(5, 120))
def test_polls_close_by_hand_and_by_themselves_all_along(seed: int, seconds: float) -> None:
    strikes = schedule(seed, seconds, TARGETS)
    found = closings(seed, seconds, strikes)
    assert found == closings(seed, seconds, strikes)
    assert found == sorted(found, key=lambda closing: closing.at_s)
    assert {closing.by_hand for closing in found} == {True, False}
    assert (
        len({closing.poll_id for closing in found})
        == len(found)
        <= aggregate_bounds.LISTED_MAX * seconds / 60 + 4
    )
    assert all(0 < closing.at_s < seconds for closing in found)


def test_the_supervisor_is_patient_with_whoever_is_frozen() -> None:
    assert Policy().silent_max_s > FREEZE_MAX_S + 2 * (TIMEOUT_S + PROBE_READY_S)
