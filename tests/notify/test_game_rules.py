"""Whoever judges a game, however old what it knows: each (rule, topic, ordinal) is told once, and what must
not be missed is not."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import NamedTuple

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_SEALED,
    Game,
    LeadChange,
    RankTaken,
    Rule,
    RuleNotice,
    Threshold,
)
from grandstand.internal.v1.internal_pb2 import Partial, RuleState
from grandstand.wire import bounds as wire_bounds
from mesh.notices import bounds as notice_bounds
from mesh.pseudonyms import PublicIds
from notify.rules.match import RuleMatch
from notify.rules.notice import stored_notice
from notify.rules.results import Who
from tests.notify.rules_rig import Notifier, Stream, board, poll, rule, standings, tally

RULES = [
    rule(rule_id="each", threshold=Threshold(at=3, each=True)),
    rule(rule_id="once", threshold=Threshold(at=5)),
    rule("poll/*", rule_id="lead", lead_changed=LeadChange(hold=Duration())),
    rule("poll/*", rule_id="sealed", sealed=True),
]


class Truth(NamedTuple):
    """The results of a poll after each change of them."""

    partials: list[Partial]

    @classmethod
    def of(cls, votes: list[str]) -> Truth:
        counts = {"a": 0, "b": 0, "c": 0}
        made = []
        for sequence, option in enumerate(votes, start=1):
            counts[option] += 1
            made.append(tally(counts, sequence))
        made.append(tally(counts, len(votes) + 1, stage=STAGE_SEALED))
        return cls(made)

    def leaders(self) -> list[str]:
        """Who led, one after the other."""
        led: list[str] = []
        for partial in self.partials:
            votes = dict(zip(partial.tally.option_ids, partial.tally.votes, strict=True))
            ahead = [option for option in votes if votes[option] == max(votes.values())]
            if len(ahead) == 1 and ahead != led[-1:]:
                led += ahead
        return led


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["hear", "judge", "publish", "unheard", "restart"])),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=24), STEPS)
def test_stale_evaluators_takeovers_and_resends_tell_each_firing_once_and_miss_nothing(
    votes: list[str], steps: list[tuple[int, str]]
) -> None:
    truth, stream = Truth.of(votes), Stream()
    game = Game(game_id="g", generation=7, rules=RULES)
    definition = poll(opened_s=1, open_for_s=60)

    def notifier() -> Notifier:
        return Notifier(stream, game, definition)

    notifiers = [notifier() for _ in range(3)]
    heard = 0
    for number, step in steps:
        each = notifiers[number]
        match step:
            case "hear":
                heard = min(heard + 1, len(truth.partials))
                each.hear(truth.partials[heard - 1])
            case "judge":
                each.judge("poll/x", 100.0)
            case "publish":
                each.publish()
            case "unheard":
                each.publish(hears=False)
            case "restart":
                notifiers[number] = notifier()
    for each in notifiers:  # whoever is left comes to its end, and so does one that knows nothing
        while each.under_way:
            each.publish()
    for each in (*notifiers, notifier(), notifier()):
        each.hear(truth.partials[-1])
        each.settle("poll/x", 100.0)

    told: dict[str, list[tuple[int, str]]] = {}
    for rule_id, topic, ordinal, title in stream.told():
        assert topic == "poll/x"
        told.setdefault(rule_id, []).append((ordinal, title))
    for firings in told.values():
        assert [ordinal for ordinal, _ in firings] == list(range(1, len(firings) + 1))
    values = [int(title.split()[0]) for _, title in told.get("each", [])]
    assert values == sorted(set(values))
    assert values[-1:] == ([len(votes) // 3 * 3] if len(votes) >= 3 else [])
    assert len(told.get("once", [])) == (len(votes) >= 5)
    assert len(told.get("sealed", [])) == 1
    leads = [title.split()[1].lower() for _, title in told.get("lead", [])]
    assert all(one != other for one, other in pairwise(leads))
    led = iter(truth.leaders())
    assert all(any(leader == each for each in led) for leader in leads), "who is told led then"


def test_a_change_of_lead_is_told_by_whoever_takes_over_before_the_first_firing() -> None:
    stream, game = Stream(), Game(game_id="g", generation=7, rules=RULES[2:3])
    first = Notifier(stream, game, poll())
    first.hear(tally({"a": 1, "b": 0}))
    first.settle("poll/x")
    assert len(stream.messages) == 1
    assert not stream.told()
    second = Notifier(stream, game, poll())
    second.hear(tally({"a": 1, "b": 2}, 3))
    second.settle("poll/x")
    assert [title for *_, title in stream.told()] == ["2 B"]


def test_nobody_judges_by_results_older_than_the_last_firing() -> None:
    stream, game = Stream(), Game(game_id="g", generation=7, rules=RULES[2:3])
    ahead, behind = Notifier(stream, game, poll()), Notifier(stream, game, poll())
    for each in (ahead, behind):
        each.hear(tally({"a": 1, "b": 0}))
        each.settle("poll/x")
    ahead.hear(tally({"a": 1, "b": 2}, 3))
    ahead.settle("poll/x")
    late = Notifier(stream, game, poll())
    late.hear(tally({"a": 1, "b": 0}))
    for each in (behind, late):
        each.settle("poll/x")
    assert [title for *_, title in stream.told()] == ["2 B"], "that a leads is what they know, and old"
    late.hear(tally({"a": 3, "b": 2}, 5))
    late.settle("poll/x")
    assert [title for *_, title in stream.told()] == ["2 B", "3 A"]


def test_a_later_game_of_the_id_begins_anew_and_who_knows_the_earlier_alone_rests() -> None:
    stream = Stream()
    old, new = (Game(game_id="g", generation=at, rules=RULES[1:2]) for at in (7, 8))
    first, last = Notifier(stream, old, poll()), Notifier(stream, old, poll())
    first.hear(tally({"a": 5}))
    first.settle("poll/x")
    second = Notifier(stream, new, poll())
    second.hear(tally({"a": 6}, 9))
    second.settle("poll/x")
    last.hear(tally({"a": 5}))
    last.settle("poll/x")
    told = [(each.generation, each.firing.ordinal) for _, _, each in stream.messages]
    assert told == [(7, 1), (8, 1)]


def test_a_stream_made_anew_is_gone_on_in() -> None:
    stream, game = Stream(), Game(game_id="g", generation=7, rules=RULES[:1])
    only = Notifier(stream, game, poll())
    only.hear(tally({"a": 3}))
    only.settle("poll/x")
    stream.messages.clear()
    only.hear(tally({"a": 6}, 2))
    only.settle("poll/x")
    assert [(ordinal, title.split()[0]) for _, _, ordinal, title in stream.told()] == [(2, "6")]


def test_what_comes_sooner_than_at_most_every_is_not_told() -> None:
    limited = rule(threshold=Threshold(at=1, each=True), at_most_every=10)
    stream, game = Stream(), Game(game_id="g", generation=7, rules=[limited])
    only = Notifier(stream, game, poll())
    for count, now_s in ((1, 100.0), (2, 105.0), (3, 111.0), (3, 130.0)):
        only.hear(tally({"a": count}, count))
        only.settle("poll/x", now_s)
    assert [title.split()[0] for *_, title in stream.told()] == ["1", "3"]


@pytest.mark.parametrize(("every_s", "told"), [(0, ["1", "2", "3"]), (10, ["1", "3"])])
def test_a_mesh_clock_that_is_set_back_holds_back_no_longer_than_at_most_every(
    every_s: int, told: list[str]
) -> None:
    """Another NATS server leads the catalog, and its clock is behind."""
    rules = [rule(threshold=Threshold(at=1, each=True), at_most_every=every_s)]
    stream = Stream()
    only = Notifier(stream, Game(game_id="g", generation=7, rules=rules), poll())
    for count, now_s in ((1, 100.0), (2, 91.0), (3, 82.0)):
        only.hear(tally({"a": count}, count))
        only.settle("poll/x", now_s)
    assert [title.split()[0] for *_, title in stream.told()] == told


def test_a_paused_rule_and_one_whose_poll_was_sealed_before_it_came_tell_nothing() -> None:
    stream = Stream()
    silent = [
        rule(rule_id="paused", threshold=Threshold(at=1), paused=True),
        rule(rule_id="late", since_s=500.0, threshold=Threshold(at=1)),
    ]
    definition = poll(opened_s=1, open_for_s=60, stage=STAGE_SEALED)
    only = Notifier(stream, Game(game_id="g", generation=7, rules=silent), definition)
    only.hear(tally({"a": 5}, stage=STAGE_SEALED))
    only.settle("poll/x", 600.0)
    assert not stream.messages


def test_results_that_are_not_known_whole_are_not_judged() -> None:
    stream, game = Stream(), Game(game_id="g", generation=7, rules=RULES[:2])
    only = Notifier(stream, game, poll(), partitions=2)
    only.hear(tally({"a": 9}))
    only.settle("poll/x")
    assert not stream.messages
    only.hear(tally({"a": 1}, partition=1))
    only.settle("poll/x")
    assert {rule_id for rule_id, *_ in stream.told()} == {"each", "once"}


def test_an_actor_is_told_itself_and_others_see_no_address() -> None:
    said = RuleNotice(title="{leader} took place {rank} of {question}", text="from {actor}", collapse=True)
    taken = Rule(rule_id="r", topic="board/*", rank_taken=RankTaken(first=1), notice=said)
    game = Game(game_id="g", generation=7, rules=[taken])
    stream = Stream()
    only = Notifier(stream, game, board())
    only.rules._public = PublicIds(lambda: b"k" * 32)
    for sequence, who in enumerate(("ann@example.org", "bob@example.org"), start=1):
        only.hear(standings([(who, sequence)], sequence=sequence))
        only.settle("board/b")
    ((_, subject, stored),) = stream.messages
    assert subject == "notices.fired.g.r.board.b"
    assert stored.notice.audience.actor_id == "ann@example.org"
    said_of = stored.notice.title + stored.notice.text + stored.notice.data
    assert "example" not in said_of
    assert stored.notice.title.endswith("took place 1 of Best")
    data = json.loads(stored.notice.data)
    assert data["topic"] == "board/b"
    assert data["rank"] == 1
    assert stored.notice.collapse_key == "rule r board/b"
    assert len(RuleState.FromString(stored.rule_state).seen) == 1


def test_a_notice_is_cut_to_the_bounds_of_any_notice() -> None:
    said = RuleNotice(title="{leader}" * 20, text="{question} ä {unknown} {" * 20)
    long = poll()
    long.question = "ü" * 200
    for option in long.options:
        option.label = "ö" * 200
    found = RuleMatch(leader=(Who("a"), Who("b")))
    notice = stored_notice(
        Game(game_id="g"), Rule(rule_id="r", notice=said), "poll/x", 1, found, b"", long, list, 5.0
    ).notice
    assert len(notice.title) == wire_bounds.TEXT_CHARACTERS_MAX
    assert 100 < len(notice.text) <= notice_bounds.TEXT_CHARACTERS_MAX
    assert len((notice.title + notice.text + notice.data).encode()) <= notice_bounds.SAID_BYTES_MAX
    assert notice.code == "r"
