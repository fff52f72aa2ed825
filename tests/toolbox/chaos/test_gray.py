"""Gray strikes are drawn by a seed, alone and two at a time, and end in time to be seen healing."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolbox.chaos import gray
from toolbox.chaos.gray import CALM_S, FAMILIES, LONG_S, TAIL_S, deck, gray_schedule
from toolbox.chaos.health import said as health_said
from toolbox.chaos.stage import TARGETS
from toolbox.chaos.strike import GRAY, Kind, Strike
from toolbox.cli.chaos_screen import said

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_a_deck_has_one_strike_of_each_family(seed: int) -> None:
    drawn = deck(Random(seed), TARGETS)
    assert len(drawn) == len(FAMILIES)
    assert {strike.kind for strike in drawn} == GRAY
    assert {"nats", "valkey"} <= {strike.target for strike in drawn} <= set(TARGETS)
    assert {strike.how.split()[0] for strike in drawn if strike.kind is Kind.DROP} == {"nats", "valkey"}


@given(SEEDS, st.floats(5, 300))
def test_no_more_than_two_strikes_overlap_and_a_calm_follows(seed: int, seconds: float) -> None:
    strikes = gray_schedule(seed, seconds, TARGETS)
    assert strikes == gray_schedule(seed, seconds, TARGETS)
    assert strikes == sorted(strikes, key=lambda strike: strike.at_s)
    busy_until, together = 0.0, [Strike(-99, Kind.LOSE, "none")]
    for strike in strikes:
        assert strike.kind in GRAY
        assert strike.for_s <= LONG_S[1]
        assert strike.at_s + strike.for_s <= seconds - TAIL_S + 0.01
        if strike.at_s > together[0].at_s + gray.TOGETHER_S + 0.01:
            assert strike.at_s >= busy_until + CALM_S[0] - 0.01
            together = []
        together.append(strike)
        assert len({each.target for each in together}) == len(together) <= 2
        busy_until = max(busy_until, strike.at_s + strike.for_s)


def test_ten_seeds_strike_in_every_way_alone_and_in_pairs() -> None:
    strikes = [strike for seed in range(10) for strike in gray_schedule(seed, 60, TARGETS)]
    struck = {(s.kind, s.how.split()[0] if s.kind is Kind.DROP else s.target) for s in strikes}
    assert struck >= {family for family in FAMILIES if family[1] != "service"}
    assert {s.how.split()[1] for s in strikes if s.kind is Kind.DROP} == {"up", "down", "both"}
    assert {s.how for s in strikes if s.kind is Kind.CLOCK} == {"jump", "drift"}
    assert min(s.amount for s in strikes) < 0


def test_a_run_needs_targets() -> None:
    with pytest.raises(ValueError, match="no targets"):
        gray_schedule(0, 60, [])


@given(SEEDS)
def test_every_strike_can_be_said(seed: int) -> None:
    for strike in deck(Random(seed), TARGETS):
        assert said(strike).startswith(f"{strike.target} ")


def test_strikes_are_said_in_words() -> None:
    drop = Strike(0, Kind.DROP, "gateway-1", 5, how="valkey down")
    assert said(drop) == "gateway-1 hears nothing from valkey for 5.0 s"
    clock = Strike(0, Kind.CLOCK, "nats", 5, -3.25, "drift")
    assert said(clock) == "nats has a clock -3.2 s off (drift) for 5.0 s"


def test_only_a_body_that_says_so_is_health() -> None:
    assert health_said(b'{"ok": true, "stored": {}}') is True
    assert health_said(b'{"ok": false}') is False
    for answer in (b"", b"ok", b"[]", b'{"ok": 1}', b'"ok"'):
        assert health_said(answer) is None
