"""Pressure: what is shed and how much credit is given, by how loaded an ingest is (I7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.pressure import SLACK, Pressure
from mesh import limits

CREDIT = 64


def pressure(share: float = 0.0) -> Pressure:
    """With so much of the events' bound in use."""
    found = Pressure(events_max=10_000, bytes_max=1_000_000)
    found.unsettled_events = round(share * 10_000)
    return found


def shed_from(pressure: Pressure) -> frozenset[str]:
    """The kinds that are shed."""
    if pressure.sheds_reactions:
        return frozenset(("measure", "reaction", "presence"))
    return frozenset(("measure",)) if pressure.sheds_measures else frozenset()


def test_an_ingest_at_ease_sheds_nothing_and_gives_its_whole_credit() -> None:
    at_ease = pressure()
    assert at_ease.level(0.0) == 0.0
    assert (at_ease.sheds_measures, at_ease.sheds_reactions) == (False, False)
    assert shed_from(at_ease) == frozenset()
    assert (at_ease.credit(CREDIT), at_ease.reason) == (CREDIT, "")


@pytest.mark.parametrize(
    ("share", "shed", "credit"),
    [
        (0.49, set(), CREDIT),
        (0.5, {"measure"}, CREDIT * 7 // 8),
        (0.74, {"measure"}, CREDIT * 4 // 8),
        (0.75, {"measure", "reaction", "presence"}, CREDIT * 4 // 8),
        (1.0, {"measure", "reaction", "presence"}, CREDIT // 8),
        (50.0, {"measure", "reaction", "presence"}, CREDIT // 8),
    ],
)
def test_measures_are_shed_first_then_reactions_and_presence_and_credit_shrinks(
    share: float, shed: set[str], credit: int
) -> None:
    loaded = pressure(share)
    assert loaded.level(0.0) == pytest.approx(share)
    assert shed_from(loaded) == shed
    assert loaded.sheds_measures == ("measure" in shed)
    assert loaded.sheds_reactions == ("presence" in shed)
    assert loaded.credit(CREDIT) == credit


@given(st.floats(0, 3), st.floats(0, 3), st.integers(1, 4_096))
def test_more_load_never_gives_more_credit_and_some_is_left(less: float, more: float, credit: int) -> None:
    less, more = sorted((less, more))
    first, second = pressure(less), pressure(more)
    first.level(0.0), second.level(0.0)
    assert 1 <= second.credit(credit) <= first.credit(credit) <= credit
    assert shed_from(first) <= shed_from(second) <= {"measure", "reaction", "presence"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"unsettled_events": 6_000}, "6000 of at most 10000 events wait to be stored"),
        ({"unsettled_bytes": 600_000}, "600000 of at most 1000000 bytes wait to be stored"),
        ({"oldest_unacked_at_s": 9.4}, "the event log takes 0.60 s to store a block"),
        ({"backlog_s": 6.0}, "aggregation is 6.0 s behind"),
    ],
)
def test_each_part_presses_alone_and_is_named(fields: dict[str, float], reason: str) -> None:
    loaded = pressure()
    for name, value in fields.items():
        setattr(loaded, name, value)
    assert loaded.level(10.0) == pytest.approx(0.6)
    assert loaded.reason == reason


def test_slow_acks_press_and_are_forgotten_when_nothing_is_published() -> None:
    slow = pressure()
    for number in range(100):
        slow.acked(0.8, number / 1_000)
    assert slow.level(0.1) == pytest.approx(0.8, abs=0.1)
    assert "0.7" in slow.reason or "0.8" in slow.reason
    assert slow.sheds_reactions
    assert slow.level(10.0) == pytest.approx(SLACK, abs=0.01)
    assert (shed_from(slow), slow.credit(CREDIT)) == (frozenset(), CREDIT)


def test_one_slow_ack_among_many_is_no_pressure() -> None:
    usual = pressure()
    for number in range(100):
        usual.acked(limits.PUBLISH_DEADLINE_S if number == 50 else 0.002, number / 1_000)
        assert usual.level(number / 1_000) < 0.3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("log_away", "the event log does not answer"), ("log_full", "the event log is full")],
)
def test_without_a_log_that_takes_events_there_is_no_credit_and_it_comes_back_with_it(
    fault: str, reason: str
) -> None:
    ingest = pressure()
    setattr(ingest, fault, True)
    ingest.level(0.0)
    assert (ingest.credit(CREDIT), ingest.reason) == (0, reason)
    setattr(ingest, fault, False)
    ingest.level(0.0)
    assert ingest.credit(CREDIT) > 0


def test_a_log_that_is_away_for_a_moment_sheds_nothing_and_one_that_stays_away_does() -> None:
    ingest = pressure()
    ingest.log_away = True
    ingest.oldest_unacked_at_s = 10.0
    ingest.level(10.2)
    assert not shed_from(ingest)
    ingest.level(12.0)
    assert ingest.sheds_measures
    assert ingest.sheds_reactions


def test_a_full_log_sheds_what_may_be_shed() -> None:
    ingest = pressure()
    ingest.log_full = True
    ingest.level(0.0)
    assert ingest.sheds_reactions


@given(
    st.floats(0, 1.2),
    st.lists(st.floats(-SLACK / 2 + 1e-6, SLACK / 2 - 1e-6), min_size=2, max_size=100),
)
def test_it_does_not_flap_under_noise(around: float, noise: list[float]) -> None:
    """However the load wavers by less than SLACK, decisions change one way only."""
    noisy = pressure()
    told = []
    for wave in noise:
        noisy.unsettled_events = round(10_000 * max(0.0, around + wave))
        noisy.level(0.0)
        told.append((noisy.sheds_measures, noisy.sheds_reactions, -noisy.credit(CREDIT)))
    assert told == sorted(told)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_the_level_is_never_below_what_is_measured_and_at_most_slack_above(shares: list[float]) -> None:
    ingest = pressure()
    before = 0.0
    for share in shares:
        ingest.unsettled_events = round(share * 10_000)
        measured = ingest.unsettled_events / 10_000
        before = ingest.level(0.0)
        assert measured <= before <= measured + SLACK + 1e-9


def test_a_clock_that_goes_back_does_no_harm() -> None:
    ingest = pressure()
    ingest.acked(0.01, 1e9)
    ingest.oldest_unacked_at_s = 1e9
    assert ingest.level(0.0) < 0.1
    ingest.acked(-5.0, 1.0)
    assert 0.0 <= ingest.level(2.0) < 0.2


def test_a_stale_view_of_the_catalog_takes_the_credit_and_sheds_nothing() -> None:
    pressure = Pressure()
    pressure.view_stale = True
    pressure.level(0.0)
    assert (pressure.credit(64), shed_from(pressure)) == (0, frozenset())
    assert "the catalog has not answered" in pressure.reason
    pressure.view_stale = False
    pressure.level(0.1)
    assert (pressure.credit(64), pressure.reason) == (64, "")


@pytest.mark.parametrize("what", ["log_away", "view_stale"])
def test_why_the_log_does_not_answer_is_said_where_it_is_known(what: str) -> None:
    pressure = Pressure()
    setattr(pressure, what, True)
    pressure.level(0.0)
    assert "disk full" not in pressure.reason
    pressure.log_trouble = "disk full"
    pressure.level(0.0)
    assert ": disk full" in pressure.reason
    assert pressure.credit(64) == 0
