"""What is asked to be sent: its digest, its times, the parts of a list, and what is due next. Pure."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.notify.v1.notify_pb2 import PRIORITY_NORMAL, Notice, Repeat, Schedule
from grandstand.wire.errors import AlreadyDone, Invalid
from notify.agenda import Agenda, DueOccurrence
from notify.bounds import ACTORS_MAX, ACTORS_PER_MESSAGE_MAX
from notify.orders import Part, Parts, order_of
from notify.schedule import plan_of

HOUR_NS = 3_600 * 10**9
lists = st.lists(st.lists(st.integers(0, 1_500), max_size=700), max_size=6)


def notice(**changed: object) -> Notice:
    given: dict[str, object] = {"key": "k", "game_id": "g", "code": "c", "title": "T"}
    return Notice(**given | {"audience": {"actor_id": "ann"}} | changed)  # type: ignore[arg-type]


def cut(messages: list[list[int]]) -> list[Part]:
    parts = Parts()
    found = [part for message in messages for part in parts.add(map(str, message))]
    return [*found, parts.end(parts.named)]


def test_the_same_is_the_same_and_another_is_another() -> None:
    same = notice(priority=PRIORITY_NORMAL, expires_after={"seconds": 604_800})
    order, stored = order_of(notice()), order_of(same).stored(HOUR_NS)
    order.check_same(stored)
    for changed in ({"title": "U"}, {"audience": {"viewers": True}}, {"data": "1"}, {"collapse_key": "x"}):
        with pytest.raises(AlreadyDone, match="another notice was sent as 'k' of game 'g' at 1970"):
            order_of(notice(**changed)).check_same(stored)
    with pytest.raises(Invalid, match="is set, and the list says who it is for"):
        order_of(notice(), is_list=True)


@given(lists)
def test_a_list_is_cut_alike_however_its_messages_are(messages: list[list[int]]) -> None:
    names = [each for message in messages for each in message]
    if not names:
        with pytest.raises(Invalid, match="actor_ids: are none"):
            cut(messages)
        return
    parts = cut(messages)
    assert [each.digest for each in parts] == [each.digest for each in cut([names])]
    assert [each.number for each in parts] == list(range(len(parts)))
    assert all(len(each.actor_ids) == 500 for each in parts[:-1])
    assert all(len(set(each.actor_ids)) == len(each.actor_ids) for each in parts)
    told = {actor_id for each in parts for actor_id in each.actor_ids}
    assert told == {str(each) for each in names}
    longer = cut([*messages, [9_999]])
    assert longer[len(parts) - 1].digest != parts[-1].digest, "another list is told from it"


def test_a_list_has_its_bounds() -> None:
    parts = Parts()
    with pytest.raises(Invalid, match=f"has more than {ACTORS_PER_MESSAGE_MAX} in one message"):
        list(parts.add(["a"] * (ACTORS_PER_MESSAGE_MAX + 1)))
    parts = Parts()
    for _ in range(ACTORS_MAX // 1_000):
        list(parts.add(["a"] * 1_000))
    with pytest.raises(Invalid, match=f"are more than {ACTORS_MAX}; .* or make a segment"):
        list(parts.add(["a"]))


schedules = st.builds(Repeat, days=st.integers(1, 3), times=st.integers(2, 6)).map(
    lambda each: Schedule(local_time="2026-12-01T10:00", time_zone="Europe/Berlin", repeat=each)
)


@given(
    st.lists(schedules, min_size=1, max_size=5), st.lists(st.integers(1, 40), max_size=40), st.integers(1, 60)
)
def test_each_occurrence_is_due_once_in_its_order_unless_it_has_expired(
    asked: list[Schedule], steps_h: list[int], lasts_h: int
) -> None:
    plans = {str(number): plan_of(each) for number, each in enumerate(asked)}
    start_ns = min(plan.due_ns(1) for plan in plans.values()) - HOUR_NS
    agenda, lasts_ns = Agenda(), lasts_h * HOUR_NS
    for name, plan in plans.items():
        assert agenda.enter(name, plan, lasts_ns, start_ns)
    sent: list[DueOccurrence] = []
    for now_ns in itertools.accumulate([start_ns, *(step * HOUR_NS for step in steps_h)]):
        while failed := agenda.due(now_ns, 2):
            for each in failed:
                agenda.again(each.name, now_ns)
            due = agenda.due(now_ns, 99)
            assert {*failed} <= {*due}, "what could not be published comes again"
            for each in due:
                assert plans[each.name].due_ns(each.occurrence) <= now_ns
                sent.append(each)
                agenda.passed(each.name, each.occurrence + 1, now_ns)
        for name, plan in plans.items():
            lives = [n for n in range(1, plan.times + 1) if now_ns - lasts_ns < plan.due_ns(n) <= now_ns]
            assert {DueOccurrence(name, n) for n in lives} <= set(sent), "what is due and lives was sent"
    assert len(sent) == len(set(sent))
    for name in plans:
        mine = [each.occurrence for each in sent if each.name == name]
        assert mine == sorted(mine)
