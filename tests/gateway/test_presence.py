"""Who watches what, and when it is said: at once, evenly ever after, and goodbye after a moment."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway import bounds as gateway_bounds
from gateway.presence import SLOT_S, Presence, PresenceReport
from mesh import limits

EVERY_S = gateway_bounds.PRESENCE_REPORT_S
GONE_S = gateway_bounds.PRESENCE_GONE_S
AGAIN_S = gateway_bounds.PRESENCE_AGAIN_S
HERE, GONE = PresenceReport("g", "ann", True), PresenceReport("g", "ann", False)


def said(
    presence: Presence, from_s: float, until_s: float, step_s: float = SLOT_S
) -> list[tuple[float, PresenceReport]]:
    """What is due in that time, looked at each `step_s`."""
    found, now_s = list[tuple[float, PresenceReport]](), from_s
    while now_s <= until_s:
        found += [(now_s, report) for report in presence.due(now_s)]
        now_s += step_s
    return found


def test_an_actor_is_reported_at_once_and_however_many_streams_it_has_once() -> None:
    presence = Presence()
    assert presence.next_at_s is None
    presence.enter("g", "ann", 100.0)
    presence.enter("g", "ann", 100.0)
    assert (presence.next_at_s or 0) <= 100.0
    assert presence.due(100.0) == [HERE]
    assert presence.due(100.0) == []
    presence.leave("g", "ann", 100.5)
    assert [report for _, report in said(presence, 101.0, 100 + 3 * EVERY_S)].count(GONE) == 0


def test_an_actor_that_came_from_another_gateway_is_reported_again_after_that_said_goodbye() -> None:
    presence = Presence()
    presence.enter("g", "ann", 100.0)
    reports = said(presence, 100.0, 100.0 + AGAIN_S)
    assert reports == [(100.0, HERE), (100.0 + AGAIN_S, HERE)]
    assert AGAIN_S > GONE_S


@given(st.floats(0, 1e6), st.floats(0.01, 3.0))
@settings(max_examples=30)
def test_who_stays_is_never_silent_for_long(came_at_s: float, step_s: float) -> None:
    presence = Presence()
    presence.enter("g", "ann", came_at_s)
    times = [at_s for at_s, _ in said(presence, came_at_s, came_at_s + 10 * EVERY_S, step_s)]
    gaps = [late - early for early, late in itertools.pairwise(times)]
    assert max(gaps) <= EVERY_S + step_s + SLOT_S
    assert len(times) <= 2 + 10 + 1


def test_a_reload_does_not_flicker_and_a_goodbye_is_said_once() -> None:
    presence = Presence()
    presence.enter("g", "ann", 0.0)
    presence.due(0.0)
    presence.leave("g", "ann", 10.0)
    assert presence.next_at_s is not None
    presence.enter("g", "ann", 10.0 + GONE_S - 0.1)
    assert GONE not in [report for _, report in said(presence, 10.0, 30.0)]
    presence.leave("g", "ann", 30.0)
    reports = said(presence, 30.0, 100.0, 0.1)
    assert [report for _, report in reports].count(GONE) == 1
    assert reports[-1] == (pytest.approx(30.0 + GONE_S, abs=0.11), GONE)
    assert len(presence) == 0
    assert presence.next_at_s is None


def test_who_leaves_before_anything_was_said_is_only_said_goodbye() -> None:
    presence = Presence()
    presence.enter("g", "ann", 0.0)
    presence.leave("g", "ann", 0.0)
    assert presence.due(GONE_S) == [GONE]


def test_games_and_actors_are_apart() -> None:
    presence = Presence()
    for game_id, actor_id in (("g", "ann"), ("h", "ann"), ("g", "bob")):
        presence.enter(game_id, actor_id, 0.0)
    assert len(presence.due(0.0)) == 3
    presence.leave("h", "ann", 1.0)
    assert [r for _, r in said(presence, 1.0, AGAIN_S) if not r.present] == [
        PresenceReport("h", "ann", False)
    ]


@pytest.mark.parametrize("came_within_s", [0.0, 30.0])
def test_a_full_gateway_reports_at_a_smooth_rate_however_its_viewers_came(came_within_s: float) -> None:
    count = limits.VIEWERS_MAX
    presence = Presence()
    for n in range(count):
        presence.enter("g", f"a{n}", 1_000.0 + came_within_s * n / count)
        presence.due(1_000.0 + came_within_s * n / count)
    start_s = 1_000.0 + came_within_s + AGAIN_S
    presence.due(start_s)
    by_slot = Counter(at_s for at_s, _ in said(presence, start_s + SLOT_S, start_s + 3 * EVERY_S))
    mean = count * SLOT_S / EVERY_S
    assert len(by_slot) == 3 * EVERY_S / SLOT_S
    assert 0.95 * mean < min(by_slot.values()) <= max(by_slot.values()) < 1.05 * mean


def test_it_stays_smooth_when_two_thirds_have_left() -> None:
    count = 9_000
    presence = Presence()
    for n in range(count):
        presence.enter("g", f"a{n}", 0.0)
    presence.due(AGAIN_S)
    for n in range(count):
        if n % 3:
            presence.leave("g", f"a{n}", AGAIN_S)
    presence.due(2 * AGAIN_S)
    by_slot = Counter(at_s for at_s, _ in said(presence, 2 * AGAIN_S + SLOT_S, 2 * AGAIN_S + 2 * EVERY_S))
    mean = count / 3 * SLOT_S / EVERY_S
    assert 0.8 * mean < min(by_slot.values()) <= max(by_slot.values()) < 1.2 * mean


def test_after_a_long_pause_everybody_is_reported_once() -> None:
    presence = Presence()
    for n in range(100):
        presence.enter("g", f"a{n}", 0.0)
    presence.due(AGAIN_S)
    assert sorted(presence.due(1e9)) == sorted(PresenceReport("g", f"a{n}", True) for n in range(100))


def test_at_the_bound_who_left_makes_room_and_is_said_goodbye() -> None:
    presence = Presence(presences_max=3)
    for actor_id in ("ann", "bob", "cid"):
        presence.enter("g", actor_id, 0.0)
    presence.enter("g", "dan", 0.0)
    assert len(presence) == 3
    presence.leave("g", "dan", 0.0)
    presence.due(0.0)
    presence.leave("g", "ann", 0.1)
    presence.leave("g", "bob", 0.2)
    presence.enter("g", "eve", 0.3)
    assert presence.due(0.3) == [GONE, PresenceReport("g", "eve", True)]
    assert len(presence) == 3


def test_thousands_that_come_and_go_while_nobody_looks_are_bounded() -> None:
    presence = Presence(presences_max=50)
    for n in range(5_000):
        presence.enter("g", f"a{n}", 0.0)
        presence.leave("g", f"a{n}", 0.0)
    assert len(presence) <= 50
    assert len(presence.due(0.0)) <= 150


def test_a_leave_too_many_is_nothing() -> None:
    presence = Presence()
    presence.enter("g", "ann", 0.0)
    presence.leave("g", "ann", 0.0)
    presence.leave("g", "ann", 1.0)
    presence.enter("g", "ann", 2.0)
    assert GONE not in [report for _, report in said(presence, 0.0, 30.0)]


def test_a_goodbye_of_somebody_unknown_is_nothing() -> None:
    presence = Presence()
    presence.leave("g", "ann", 0.0)
    assert (presence.due(100.0), presence.next_at_s) == ([], None)


class Streams(RuleBasedStateMachine):
    """Any order of streams and looks, against what is simply true."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = Presence()
        self.now_s = 0.0
        self.streams = Counter[str]()
        self.closed_at_s = dict[str, float]()
        self.told = dict[str, tuple[bool, float]]()

    actors = st.sampled_from(["ann", "bob", "cid"])

    @rule(actor_id=actors)
    def enter(self, actor_id: str) -> None:
        self.presence.enter("g", actor_id, self.now_s)
        self.streams[actor_id] += 1

    @precondition(lambda self: self.streams.total())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        actor_id = data.draw(st.sampled_from(sorted(+self.streams)))
        self.presence.leave("g", actor_id, self.now_s)
        self.streams[actor_id] -= 1
        if not self.streams[actor_id]:
            self.closed_at_s[actor_id] = self.now_s

    @rule(seconds=st.floats(0.0, 2 * EVERY_S))
    def wait(self, seconds: float) -> None:
        """As the shell does: it looks when it was told to."""
        until_s = self.now_s + seconds
        while (at_s := self.presence.next_at_s) is not None and at_s <= until_s:
            self.now_s = max(self.now_s, at_s)
            self.look()
        self.now_s = until_s

    def look(self) -> None:
        reports = self.presence.due(self.now_s)
        assert len({(r.game_id, r.actor_id) for r in reports}) == len(reports)
        for _, actor_id, present, _ in reports:
            assert present or not self.streams[actor_id], "nobody who watches is said goodbye"
            before, at_s = self.told.get(actor_id, (False, 0.0))
            if before and present:
                assert self.now_s - at_s <= EVERY_S + SLOT_S, "it was told in time to look"
            self.told[actor_id] = (present, self.now_s)
        next_at_s = self.presence.next_at_s
        assert next_at_s is None or next_at_s > self.now_s

    @invariant()
    def what_was_told_is_true(self) -> None:
        self.look()
        for actor_id, streams in self.streams.items():
            if streams:
                present, at_s = self.told[actor_id]
                assert present
                assert self.now_s - at_s <= EVERY_S + SLOT_S
            elif self.now_s - self.closed_at_s[actor_id] > GONE_S:
                assert not self.told[actor_id][0]
        here = {actor_id for actor_id, streams in self.streams.items() if streams}
        assert len(here) <= len(self.presence) <= 3


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
