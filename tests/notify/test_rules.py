"""What each kind of rule finds, and what it does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    Game,
    LeadChange,
    RankTaken,
    RateSpike,
    Threshold,
)
from grandstand.internal.v1.internal_pb2 import AudiencePartial, PanePartial, Partial, PulsePartial
from notify.rules.audience_peak import step_of
from notify.rules.results import Who
from tests.notify.rules_rig import Judging, poll, rule, share, standings, tally


def seconds(value: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(int(value * 1e9))
    return made


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 20), st.booleans())
def test_a_threshold_is_told_when_it_is_reached_once_or_at_each_multiple_and_of_several_the_last(
    counts: list[int], at: int, each: bool
) -> None:
    judging, told, highest = Judging(rule(threshold=Threshold(at=at, each=each))), 0, 0
    for sequence, count in enumerate(counts, start=1):
        found = judging.found(tally({"a": count}, sequence))
        highest = max(highest, count)
        reached = highest // at if each else int(highest >= at)
        assert [one.value for one in found] == ([reached * at] if reached > told else [])
        told = reached


def test_a_threshold_on_a_board_is_reached_in_each_season_also_in_one_that_is_over() -> None:
    judging = Judging(rule("board/b", threshold=Threshold(at=10)))
    assert judging.found(standings([("ann", 9)], 1)) == []
    assert judging.found(standings([("ann", 12)], 1))[0].leader == (Who("ann", "", 12),)
    past = share([("ann", 15)], 1)
    assert judging.found(standings([("bob", 1)], 2, past)) == []
    assert [each.season for each in judging.found(standings([("bob", 11)], 2, past))] == [2]
    unseen = Judging(rule("board/b", threshold=Threshold(at=10)))
    both = unseen.found(standings([("bob", 11)], 2, share([("ann", 15)], 1)))
    assert [(each.season, each.leader[0].id) for each in both] == [(1, "ann"), (2, "bob")]
    added_later = Judging(rule("board/b", since_s=150.0, threshold=Threshold(at=10)))
    assert added_later.found(standings([("bob", 1)], 2, share([("ann", 15)], 1))) == []


def test_the_lead_has_changed_once_another_has_led_for_the_hold() -> None:
    judging = Judging(rule(lead_changed=LeadChange(hold=seconds(2))))
    assert judging.look(tally({"a": 0, "b": 0})).keep is False
    assert judging.look(tally({"a": 1, "b": 0})).keep, "who leads first is no change, and is kept"
    assert judging.look(tally({"a": 1, "b": 1}), now_s=1).look_at_s is None, "a tie changes nothing"
    assert judging.look(tally({"a": 1, "b": 2}), now_s=2).look_at_s == pytest.approx(4, abs=1e-3)
    assert judging.found(tally({"a": 3, "b": 2}), now_s=3) == []
    assert judging.found(tally({"a": 3, "b": 4}), now_s=3.5) == []
    assert judging.found(tally({"a": 3, "b": 5}), now_s=5.4) == []
    (found,) = judging.found(tally({"a": 3, "b": 5}), now_s=5.6)
    assert (found.leader, found.before) == ((Who("b", points=5),), Who("a"))
    two = (tally({"a": 9, "b": 1}, partition=0), tally({"a": 1, "b": 2}, partition=1))
    assert judging.found(*two, now_s=6) == []
    assert judging.found(*two, now_s=8.1)[0].value == 10


def test_a_lead_is_told_a_hold_after_the_clock_was_set_back() -> None:
    judging = Judging(rule(lead_changed=LeadChange(hold=seconds(2))))
    judging.look(tally({"a": 1, "b": 0}), now_s=1_000)
    ahead = tally({"a": 1, "b": 2})
    judging.look(ahead, now_s=1_001)
    assert judging.look(ahead, now_s=1).look_at_s == pytest.approx(3, abs=1e-3)
    assert judging.found(ahead, now_s=2.9) == []
    assert len(judging.found(ahead, now_s=3.1)) == 1


def test_a_new_season_begins_without_a_change_of_lead() -> None:
    judging = Judging(rule("board/b", lead_changed=LeadChange(hold=seconds(0))))
    judging.look(standings([("ann", 2), ("bob", 1)], 1))
    assert judging.found(standings([("bob", 3), ("ann", 2)], 1))[0].leader[0].id == "bob"
    assert judging.found(standings([("cat", 1)], 2, share([("bob", 3)], 1))) == []
    assert judging.found(standings([("dan", 2), ("cat", 1)], 2))[0].before == Who("cat")


def test_who_is_no_more_among_the_first_is_told_one_after_the_other() -> None:
    judging = Judging(rule("board/b", rank_taken=RankTaken(first=2)))
    assert judging.found(standings([("ann", 5)])) == []
    assert judging.found(standings([("bob", 6), ("ann", 5)])) == [], "ann is still among the first two"
    taken = standings([("cat", 9), ("dan", 8), ("bob", 6), ("ann", 5)])
    assert [(each.actor, each.rank) for each in judging.found(taken)] == [(Who("bob"), 1), (Who("ann"), 2)]
    assert judging.found(taken) == []
    assert judging.found(standings([("dan", 8)])) == [], "cat was removed, and nobody took its place"
    assert judging.found(standings([("eve", 1), ("fay", 1)], 1)) == [], "a new season"


def test_an_actor_is_told_of_its_rank_no_more_often_than_asked_and_another_is() -> None:
    judging = Judging(rule("board/b", rank_taken=RankTaken(first=1), at_most_every=60))
    rows = [("ann", 1), ("bob", 2), ("ann", 3), ("bob", 4), ("cat", 5), ("ann", 6)]
    told = [
        each.actor.id
        for at, row in enumerate(rows)
        for each in judging.found(standings([row]), now_s=100 + at)
        if each.actor is not None
    ]
    assert told == ["ann", "bob", "cat"]
    assert [each.actor for each in judging.found(standings([("bob", 7)]), now_s=170)] == [Who("ann")]


@given(st.lists(st.permutations("abcde"), min_size=2, max_size=8), st.integers(1, 3))
def test_each_who_lost_its_place_between_two_looks_is_told_and_nobody_else(
    orders: list[list[str]], first: int
) -> None:
    judging = Judging(rule("board/b", rank_taken=RankTaken(first=first)))
    boards = [standings([(who, 9 - at) for at, who in enumerate(order)]) for order in orders]
    judging.found(boards[0])
    for (before, now), partial in zip(pairwise(orders), boards[1:], strict=True):
        told = [each.actor.id for each in judging.found(partial) if each.actor is not None]
        assert sorted(told) == sorted(set(before[:first]) - set(now[:first]))


def test_an_opening_is_told_once_if_it_is_open_and_was_opened_since() -> None:
    judging = Judging(rule(since_s=10, opened=True))
    judging.definition = poll(opened_s=9)
    assert judging.found() == []
    judging.definition = poll(opened_s=10, stage=STAGE_CLOSED)
    assert judging.found() == []
    judging.definition = poll(opened_s=10)
    assert len(judging.found()) == 1
    assert judging.found() == []


def test_a_closing_is_told_so_long_before_if_it_closes_by_itself() -> None:
    judging = Judging(rule(closing_in=10))
    judging.definition = poll(opened_s=100)
    assert judging.look(now_s=105).look_at_s is None
    judging.definition.closes_at.seconds = 106
    assert judging.found(now_s=105) == [], "an owner closes it now"
    judging.definition = poll(opened_s=100, open_for_s=5)
    assert judging.found(now_s=101) == [], "never was there so much time left"
    judging.definition = poll(opened_s=100, open_for_s=60)
    assert judging.look(now_s=101).look_at_s == 150
    assert judging.found(now_s=160) == []
    assert [each.value for each in judging.found(now_s=150)] == [10]
    assert judging.found(now_s=151) == []


def test_a_sealed_result_is_told_with_all_that_are_level() -> None:
    judging = Judging(rule(sealed=True))
    judging.definition = poll(opened_s=1, open_for_s=5, stage=STAGE_SEALED)
    assert judging.found(tally({"a": 2, "b": 2}, stage=STAGE_CLOSED)) == []
    (found,) = judging.found(tally({"a": 2, "b": 2}, stage=STAGE_SEALED))
    assert (found.value, [who.id for who in found.leader]) == (4, ["a", "b"])
    assert judging.found(tally({"a": 2, "b": 2}, stage=STAGE_SEALED)) == []


def test_a_season_is_told_when_it_is_sealed_if_somebody_scored_in_it() -> None:
    judging = Judging(rule("board/b", since_s=150.0, season_closed=True))
    assert judging.found(standings([], 2, share([("ann", 1)], 1, sealed=True))) == [], "before it was added"
    assert judging.found(standings([], 3, share([("ann", 2)], 2))) == []
    (found,) = judging.found(standings([], 3, share([("ann", 2)], 2, sealed=True)))
    assert (found.season, found.leader[0].id, found.value) == (2, "ann", 2)
    assert judging.found(standings([], 3, share([("ann", 2)], 2, sealed=True))) == []
    assert judging.found(standings([], 4, share([], 3, sealed=True))) == []


def test_the_end_of_the_game_is_told_once() -> None:
    judging = Judging(rule("", game_ended=True))
    judging.definition = Game(stage=STAGE_OPEN)
    assert judging.found() == []
    judging.definition = Game(stage=STAGE_SEALED)
    assert len(judging.found()) == 1
    assert judging.found() == []


def pulse(per_s: dict[int, int]) -> Partial:
    made = PulsePartial(kinds=["fire"])
    tens: dict[int, int] = {}
    for at_s, count in sorted(per_s.items()):
        tens[at_s // 10 * 10] = tens.get(at_s // 10 * 10, 0) + count
        made.panes.append(PanePartial(width_s=1, starts_at_s=at_s, counts=[count]))
    made.panes.extend(PanePartial(width_s=10, starts_at_s=at, counts=[n]) for at, n in tens.items())
    return Partial(topic="pulse/p", pulse=made)


def test_a_spike_is_told_once_until_it_is_over() -> None:
    judging = Judging(rule("pulse/p", rate_spike=RateSpike(times=3, at_least=20)))
    calm = dict.fromkeys(range(940, 1000), 2)
    assert judging.found(pulse(calm), now_s=1_000) == []
    spike = calm | dict.fromkeys(range(1000, 1006), 9)
    assert [each.value for each in judging.found(pulse(spike), now_s=1_005.0)] == [54]
    assert judging.look(pulse(spike), now_s=1_005.5).look_at_s == 1_010.5
    after = spike | dict.fromkeys(range(1006, 1030), 2)
    assert judging.found(pulse(after), now_s=1_029) == []
    again = after | dict.fromkeys(range(1030, 1036), 30)
    assert len(judging.found(pulse(again), now_s=1_035)) == 1


def test_a_peak_is_told_at_each_step_of_the_audience() -> None:
    def audience(viewers: int) -> Partial:
        return Partial(audience=AudiencePartial(pane_starts_at_s=[1_000], last_seen=[viewers]))

    judging = Judging(rule("audience", audience_peak=True))
    told = [
        each.value
        for viewers in (3, 12, 9, 19, 57, 49, 400)
        for each in judging.found(audience(viewers), now_s=1_001)
    ]
    assert told == [10, 50, 200]
    assert [step_of(n) for n in (9, 10, 19, 20, 99, 100, 12_345)] == [0, 10, 10, 20, 50, 100, 10_000]
