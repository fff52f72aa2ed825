"""Burn rates over rings of buckets are those of a plain list, within a bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.canary.burn_rates import STEPS, BucketRing, BurnRates
from mesh.canary.objectives import ACKS, ALERTS, FRESHNESS, WINDOWS_S, BurnAlert


@given(
    st.lists(st.tuples(st.floats(0, 400), st.integers(1, 5)), max_size=50),
    st.sampled_from([10.0, 60.0, 300.0]),
    st.floats(0, 500),
)
def test_a_ring_counts_the_window_and_at_most_a_bucket_more(
    events: list[tuple[float, int]], window_s: float, idle_s: float
) -> None:
    ring, now_s, told = BucketRing(10.0, 300.0), 1_000.0, list[tuple[float, int]]()
    for passed_s, count in events:
        now_s += passed_s
        ring.add(count, now_s)
        told.append((now_s, count))
    now_s += idle_s

    def within(seconds: float) -> int:
        return sum(count for at_s, count in told if at_s > now_s - seconds)

    assert within(window_s) <= ring.total(window_s, now_s) <= within(window_s + 10.0 + 1e-6)


def test_a_steady_share_of_bad_votes_burns_as_it_should_in_every_window() -> None:
    rates, end_s = BurnRates(ACKS), WINDOWS_S["3d"]
    for second in range(0, int(end_s), 100):
        rates.count(is_good=False, now_s=float(second))
        rates.count(is_good=True, now_s=float(second))
    # 1 % are bad, where 0.01 % may be.
    for name, rate in rates.by_window(end_s).items():
        assert rate == pytest.approx(100, rel=0.35 if name == "5m" else 0.1), name
    assert (rates.good, rates.bad) == (2_592, 2_592)


def test_a_canary_that_just_started_needs_as_many_bad_votes_as_any_other() -> None:
    rates = BurnRates(FRESHNESS)
    rates.count(is_good=False, now_s=5.0)
    assert not any(alert.fires(rates.by_window(6.0)) for alert in ALERTS)
    for second in range(60):
        rates.count(is_good=False, now_s=6.0 + second)
    assert ALERTS[0].fires(rates.by_window(66.0)), "a minute of nothing but stale votes"
    # An hour after: the short window has forgotten, the long ones have not.
    by_window = rates.by_window(3_000.0)
    assert by_window["1h"] > 14.4
    assert by_window["5m"] == 0
    assert not ALERTS[0].fires(by_window)


def test_nothing_is_left_after_the_longest_window_and_memory_is_bounded() -> None:
    rates = BurnRates(ACKS)
    rates.count(is_good=False, now_s=10.0)
    assert rates.over(WINDOWS_S["3d"], 10.0) > 0
    assert not any(rates.by_window(10.0 + WINDOWS_S["3d"] + 300).values())
    assert STEPS < 1_500


@pytest.mark.parametrize(
    ("long", "short", "fires"), [(14.4, 14.4, True), (14.4, 14.3, False), (14.3, 99, False)]
)
def test_an_alert_wants_both_windows(long: float, short: float, fires: bool) -> None:
    assert BurnAlert(14.4, "1h", "5m").fires({"1h": long, "5m": short}) is fires
