"""What the crowd measures and claims: rates, percentiles, vote-to-screen, acked against counted."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolbox.load.latencies import Latencies
from toolbox.load.ledger import Account
from toolbox.load.pace import Pacer
from toolbox.load.sightings import Sightings


@given(rate=st.floats(10, 1000), seed=st.integers(0, 100), step_s=st.floats(0.001, 0.2))
def test_a_pacer_keeps_its_rate_whatever_the_steps(rate: float, seed: int, step_s: float) -> None:
    pacer = Pacer(rate, 0.0, Random(seed))
    steps = int(20 / step_s)
    count = sum(pacer.due(step * step_s) for step in range(1, steps + 1))
    expected = rate * steps * step_s
    assert abs(count - expected) <= 6 * expected**0.5 + 1


def test_a_pacer_that_fell_behind_makes_up_for_a_second_at_most() -> None:
    pacer = Pacer(100.0, 0.0, Random(1))
    assert 60 <= pacer.due(60.0) <= 140


def test_a_rate_of_zero_is_never_due() -> None:
    assert Pacer(0.0, 0.0, Random(1)).due(1e9) == 0


@given(st.lists(st.floats(1e-4, 100.0), min_size=1, max_size=300), st.floats(1, 100))
def test_a_percentile_is_within_two_percent_of_the_exact_one(samples: list[float], percent: float) -> None:
    latencies = Latencies()
    for sample in samples:
        latencies.add(sample)
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    exact = ordered[min(len(ordered), int(rank)) - 1]
    assert latencies.percentile_s(percent) == pytest.approx(exact, rel=0.02)


def test_no_samples_have_no_percentile() -> None:
    assert Latencies().percentile_ms(50) is None


def test_a_vote_is_measured_from_its_send_to_the_first_state_that_includes_it() -> None:
    sightings = Sightings()
    sightings.acked([(3, 10)], sent_s=1.0)
    sightings.saw(3, 9, now_s=1.5)
    assert sightings.waiting == 1
    sightings.saw(3, 12, now_s=2.0)
    assert sightings.waiting == 0
    assert sightings.latencies.max_s == pytest.approx(1.0)


def test_a_state_seen_before_the_ack_counts_from_the_moment_it_was_seen() -> None:
    sightings = Sightings()
    sightings.saw(3, 9, now_s=1.5)
    sightings.saw(3, 12, now_s=1.7)
    sightings.saw(3, 20, now_s=9.0)
    sightings.acked([(3, 10)], sent_s=1.0)
    assert sightings.latencies.max_s == pytest.approx(0.7)


def test_another_partition_shows_nothing_of_the_vote() -> None:
    sightings = Sightings()
    sightings.acked([(3, 10)], sent_s=1.0)
    sightings.saw(4, 99, now_s=1.5)
    assert sightings.waiting == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=80))
def test_every_acked_vote_is_either_measured_or_waited_for(steps: list[tuple[bool, int]]) -> None:
    sightings = Sightings()
    acked = 0
    for now, (is_ack, sequence) in enumerate(steps):
        if is_ack:
            acked += 1
            sightings.acked([(0, sequence)], sent_s=float(now))
        else:
            sightings.saw(0, sequence, now_s=float(now))
    assert sightings.latencies.count + sightings.waiting == acked


def test_an_acked_vote_that_is_not_counted_is_lost() -> None:
    account = Account()
    account.on_sent()
    account.on_acked()
    assert (account.lost(0), account.doubled(0)) == (1, 0)
    assert (account.lost(1), account.doubled(1)) == (0, 0)
    assert (account.lost(2), account.doubled(2)) == (0, 1)


def test_an_unanswered_vote_may_be_counted_or_not() -> None:
    account = Account()
    account.on_sent()
    assert account.unsettled == 1
    assert (account.lost(0), account.doubled(0)) == (0, 0)
    assert (account.lost(1), account.doubled(1)) == (0, 0)
    assert account.doubled(2) == 1


def test_a_refused_vote_must_not_be_counted_unless_a_copy_may_be_stored() -> None:
    account = Account()
    account.on_sent()
    account.on_refused("NOT_FOUND", maybe_stored=False)
    assert account.doubled(1) == 1
    account.on_sent()
    account.on_refused("FAILED_PRECONDITION", maybe_stored=True)
    assert account.doubled(1) == 0
    assert account.counted_all_the_same(1) == 1


def test_every_unacked_event_is_counted_once_or_reported() -> None:
    account = Account()
    for _ in range(6):
        account.on_sent()
    account.on_acked()
    account.on_refused("ALREADY_EXISTS", maybe_stored=False)
    account.on_shed(maybe_stored=False)
    account.on_shed(maybe_stored=True)
    account.on_lost_sight()
    assert (account.unacked, account.reported, account.unsettled) == (5, 4, 1)
    assert [account.counted_all_the_same(n) for n in (1, 2, 4, 9)] == [0, 1, 3, 3]
    assert (account.doubled(4), account.doubled(5)) == (0, 1)


def test_points_counted_twice_show_on_the_board() -> None:
    account = Account()
    account.on_sent(units=7)
    account.on_acked(units=7)
    assert account.doubled(14) == 7
