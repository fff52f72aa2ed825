"""Rules of a game: refused with their field and bound, and only added, paused or given another notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from aggregate import definition_merge
from aggregate.definitions import check_game
from aggregate.rules import check_named, named_topics
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_OPEN,
    Board,
    Game,
    LeadChange,
    Poll,
    Pulse,
    RankTaken,
    RateSpike,
    Rule,
    RuleNotice,
    Threshold,
)
from grandstand.wire.errors import Invalid, NotNow


def seconds(value: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(int(value * 1e9))
    return made


def rule(rule_id: str = "r", topic: str = "poll/*", **fields: Any) -> Rule:
    notice = RuleNotice(title="It happened")
    if not any(kind in fields for kind in ("threshold", "sealed", *WHENS)):
        fields["threshold"] = Threshold(at=10)
    return Rule(**({"rule_id": rule_id, "topic": topic, "notice": notice} | fields))


WHENS = {
    "lead_changed": LeadChange(),
    "rank_taken": RankTaken(first=3),
    "opened": True,
    "closing_in": seconds(10),
    "season_closed": True,
    "game_ended": True,
    "rate_spike": RateSpike(times=3, at_least=10),
    "audience_peak": True,
}


def game(*rules: Rule, **fields: Any) -> Game:
    pulses = [Pulse(pulse_id="p", kinds=["a"])]
    return Game(**({"game_id": "g", "title": "G", "spread": 1, "pulses": pulses, "rules": rules} | fields))


def said(**fields: Any) -> RuleNotice:
    return RuleNotice(**({"title": "T"} | fields))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (game(*(rule(f"r{n}") for n in range(17))), "game.rules: 17 rules; at most 16 are allowed"),
        (game(rule("a b")), r"game.rules\[0\].rule_id: 'a b' has the character ' '"),
        (game(rule(), rule()), "game.rules.rule_id: 'r' comes twice"),
        (game(Rule(rule_id="r", notice=said())), r"rules\[0\].when: is not set; one of threshold, lead_chan"),
        (game(rule(threshold=Threshold())), "threshold.at: is 0; at least 1 is needed"),
        (game(rule(topic="poll/a b")), r"topic: is 'poll/a b'; threshold judges poll/<id>, board/<id>"),
        (
            game(rule(topic="metric/m")),
            "is 'metric/m'; threshold judges poll/<id>, board/<id>, audience",
        ),
        (game(rule(topic="pulse/*")), r"is 'pulse/\*'; threshold judges .*poll/\*, board/\*"),
        (game(rule(topic="pulse/q")), "the game has no pulse 'q'; define it with the rule"),
        (game(rule(topic="audience")), "the game's audience is not counted; define it with audience"),
        (game(rule(rank_taken=RankTaken(first=1))), r"is 'poll/\*'; rank_taken judges board/<id>, board/\*"),
        (game(rule(topic="board/*", rank_taken=RankTaken(first=101))), "first: is 101; 1 to 100 are allowed"),
        (game(rule(lead_changed=LeadChange(hold=seconds(601)))), "hold: is 601 s; 0 to 600 s are allowed"),
        (game(rule(closing_in=seconds(0.5))), "closing_in: is 0.5 s; 1 to 86400 s are allowed"),
        (game(rule(opened=False)), "rules.0..opened: is false; it must be true"),
        (game(rule(game_ended=True)), r"topic: is 'poll/\*'; it must be empty for game_ended"),
        (
            game(rule(topic="pulse/p", rate_spike=RateSpike(times=1, at_least=1))),
            "times: is 1; 2 to 100 are allowed",
        ),
        (game(rule(topic="pulse/p", rate_spike=RateSpike(times=2))), "at_least: is 0; at least 1 is needed"),
        (game(rule(at_most_every=seconds(86_401))), "at_most_every: is 86401 s; 0 to 86400 s are allowed"),
        (game(rule(notice=said(title=""))), "notice.title: is empty"),
        (game(rule(notice=said(text="x" * 501))), "text: has 501 characters; at most 500 are allowed"),
        (game(rule(notice=said(code="a."))), "code: is 'a.'; 1 to 64"),
        (game(rule(notice=said(expires_after=seconds(59)))), "expires_after: is 59 s; 60 to 7776000 s"),
        (
            game(rule(opened=True, notice=said(text="{leader} leads {question}"))),
            r"text: opened does not find '{leader}'; it finds {topic}, {question}",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_rule_is_refused(wanted: Game, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_game(wanted, ())


def test_each_kind_is_taken_on_what_it_can_judge_and_says_not_since_when() -> None:
    topics = {"rate_spike": "pulse/p", "audience_peak": "audience", "game_ended": ""}
    rules = [
        rule(kind, topics.get(kind, "board/*"), **{kind: when}, notice=said(text="a { brace"))
        for kind, when in WHENS.items()
    ]
    wanted = game(*rules, audience=True)
    for each in wanted.rules:
        each.since.seconds = 7
    assert check_game(wanted, ()) == game(*rules, audience=True)


def test_a_rule_that_names_a_poll_or_board_wants_it_there_and_fitting() -> None:
    wanted = game(rule(topic="poll/x"), rule("s", "board/y", rank_taken=RankTaken(first=5)), rule("t"))
    poll, board = named_topics(wanted, Game())
    assert (poll.key, board.key) == ("poll.g.x", "board.g.y")
    check_named(poll, Poll(stage=STAGE_OPEN, generation=8), 8)
    gone: list[Poll | None] = [None, Poll(), Poll(stage=STAGE_OPEN, generation=7)]
    for found in gone:
        with pytest.raises(Invalid, match=r"rules\[0\].topic: 'poll/x' is not there; open it first, or name"):
            check_named(poll, found, 8)
    with pytest.raises(Invalid, match="first: is 5; the board shows 3"):
        check_named(board, Board(stage=STAGE_OPEN, top=3), 8)
    seasons = next(iter(named_topics(game(rule(topic="board/y", season_closed=True)), Game())))
    with pytest.raises(Invalid, match="'board/y' has no seasons"):
        check_named(seasons, Board(stage=STAGE_OPEN), 8)
    assert not list(named_topics(wanted, wanted)), "what is known need not be there any more"


def changed(change: Callable[[Rule], object]) -> Game:
    other = rule()
    change(other)
    return game(other)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (game(), "game.rules: 'r' counts in game 'g' and cannot be taken away"),
        (changed(lambda r: r.threshold.__setattr__("at", 11)), "game.rules: 'r' .* cannot be altered"),
        (changed(lambda r: r.__setattr__("topic", "board/*")), "game.rules: 'r' .* cannot be altered"),
    ],
)
def test_a_rule_is_neither_taken_away_nor_its_condition_altered(wanted: Game, message: str) -> None:
    with pytest.raises(NotNow, match=message):
        definition_merge.check_and_merge(game(rule()), wanted, has_topics=False)


def test_rules_are_added_paused_and_said_otherwise_and_judged_since_they_are_not_paused() -> None:
    def defined(known: Game, wanted: Game, now_s: float) -> Game:
        timed = definition_merge.with_rule_times(known, wanted, now_s)
        return definition_merge.check_and_merge(known, timed, has_topics=False)

    first = defined(Game(game_id="g"), game(rule()), 1.0)
    paused = rule(paused=True, notice=said(title="Other"), at_most_every=seconds(5))
    second = defined(first, game(rule("new"), paused), 2.0)
    assert [(each.rule_id, each.since.seconds, each.paused) for each in second.rules] == [
        ("r", 1, True),
        ("new", 2, False),
    ]
    assert second.rules[0].notice.title == "Other"
    third = defined(second, game(rule(), rule("new")), 3.0)
    assert [each.since.seconds for each in third.rules] == [3, 2]
    assert definition_merge.untitled(third) == definition_merge.untitled(first), "folds need not know"
