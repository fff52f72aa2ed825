"""Chaos puts the seasons of a board together as they go by, and finds what changed after its seal."""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from toolbox.chaos.monotone import setback
from toolbox.chaos.seasons import Seasons

KEY = ("hot", "board/season-short")


def shown(
    number: int, points: dict[str, int], before: dict[str, int] | None = None, *, sealed: bool = False
) -> TopicState:
    """A board in its season `number`, and what it held in the one before."""
    state = TopicState(topic=KEY[1])
    state.board.season.number = number
    for actor, value in points.items():
        state.board.entries.add(actor_id=actor, points=value)
    if before is not None:
        state.board.previous.season.number = number - 1
        state.board.previous.sealed = sealed
        for actor, value in before.items():
            state.board.previous.entries.add(actor_id=actor, points=value)
    return state


def sums(seasons: Seasons) -> dict[str, int]:
    return {e.actor_id: e.points for e in dict(seasons.sums())[KEY].board.entries}


def test_the_sum_over_the_seasons_is_of_what_each_held_when_it_was_sealed() -> None:
    seasons = Seasons()
    for state in (
        shown(1, {"a": 1}),
        shown(2, {"b": 1}, {"a": 5}, sealed=True),
        shown(2, {"b": 4}, {"a": 5}, sealed=True),
        shown(3, {"a": 16}, {"b": 5}, sealed=True),
    ):
        seasons.note("hot", state)
    assert seasons.unseen(KEY) == 1, "of the running one more may come"
    seasons.note("hot", shown(3, {"a": 80}, {"b": 5}, sealed=True), last=True)
    assert sums(seasons) == {"a": 85, "b": 5}
    assert (seasons.unseen(KEY), seasons.seen(), seasons.notes) == (0, 3, [])


def test_a_season_that_went_by_unseen_or_unsealed_is_counted() -> None:
    seasons = Seasons()
    seasons.note("hot", shown(1, {"a": 1}))
    seasons.note("hot", shown(2, {}, {"a": 1}))
    seasons.note("hot", shown(5, {"a": 4}, {"b": 1}), last=True)
    assert seasons.unseen(KEY) == 3


def test_a_season_that_changed_after_its_seal_is_found_whoever_saw_it() -> None:
    seasons = Seasons()
    seasons.note("hot", shown(2, {}, {"a": 1}, sealed=True))
    seasons.note("hot", shown(2, {}, {"a": 5}, sealed=True))
    assert seasons.notes == ["hot board/season-short: season 1 changed after its seal"]


def test_an_older_look_at_a_sealed_season_takes_nothing_away() -> None:
    seasons = Seasons()
    seasons.note("hot", shown(2, {}, {"a": 5}, sealed=True))
    seasons.note("hot", shown(1, {"a": 1}))
    assert sums(seasons) == {"a": 5}
    assert seasons.notes == []


def test_within_a_season_points_only_grow_and_seasons_follow_each_other() -> None:
    assert setback(shown(1, {"a": 5}), shown(2, {"a": 1}, {"a": 5})) is None
    assert setback(shown(2, {}, {"a": 5}), shown(3, {"a": 1}, {"b": 1})) is None
    assert "went back" in (setback(shown(1, {"a": 5}), shown(1, {"a": 4})) or "")
    assert "went back" in (setback(shown(1, {"a": 5}), shown(2, {}, {"a": 4})) or "")
    assert "came after" in (setback(shown(2, {}), shown(1, {})) or "")
    sealed = shown(2, {}, {"a": 5}, sealed=True)
    assert "after its seal" in (setback(sealed, shown(2, {}, {"a": 21}, sealed=True)) or "")
    assert "after its seal" in (setback(sealed, shown(2, {}, {"a": 5})) or "")
