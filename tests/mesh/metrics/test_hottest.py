"""Series by game stay within their bound, and the rest is summed, whatever games there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.metrics.hottest import GAMES_MAX, HOTTEST_MAX, OTHERS, WINDOW_S, GameRates, hottest


@given(st.dictionaries(st.text("abother", min_size=1, max_size=6), st.integers(0, 1000)))
def test_the_hottest_are_named_and_nothing_is_lost(games: dict[str, int]) -> None:
    found = hottest(games, 3)
    assert len(found) <= 3 + 1
    assert sum(found.values()) == sum(games.values())
    named = found.keys() - {OTHERS}
    assert all(games[name] >= games[other] for name in named for other in games.keys() - named - {OTHERS})


def test_a_hidden_game_is_no_users_game() -> None:
    assert hottest({"_canary": 9, "a": 2}) == {"a": 2, OTHERS: 0}


def test_a_thousand_games_are_eleven_series() -> None:
    rates = GameRates()
    for game in range(1000):
        rates.add(f"game-{game}", game, 0.0)
    found = rates.hottest(WINDOW_S)
    assert len(found) == HOTTEST_MAX + 1
    assert found["game-999"] == 999 / WINDOW_S
    assert found[OTHERS] == sum(range(990)) / WINDOW_S


def test_games_beyond_the_bound_are_counted_without_their_names() -> None:
    rates = GameRates()
    for game in range(GAMES_MAX + 50):
        rates.add(f"game-{game}", 1, 0.0)
    found = rates.hottest(WINDOW_S)
    assert len(found) == HOTTEST_MAX + 1
    assert sum(found.values()) * WINDOW_S == pytest.approx(GAMES_MAX + 50)


def test_rates_are_of_the_last_whole_window_and_end_with_the_events() -> None:
    rates = GameRates()
    rates.add("final", 50, 0.0)
    assert rates.hottest(1.0) == {OTHERS: 0}
    assert rates.hottest(WINDOW_S) == {"final": 50 / WINDOW_S, OTHERS: 0}
    assert rates.hottest(2 * WINDOW_S) == {OTHERS: 0}
    rates.add("final", 50, 3 * WINDOW_S)
    assert rates.hottest(9 * WINDOW_S) == {OTHERS: 0}
