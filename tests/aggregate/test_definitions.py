"""Definitions are refused with their field and bound, stored in one form, and only grow."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate import definition_merge
from aggregate.definitions import check_board, check_game, check_poll, same_definition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    WRITERS_ACTORS,
    WRITERS_PRODUCERS,
    WRITERS_UNSPECIFIED,
    Board,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
    Season,
    Writers,
)
from grandstand.wire.errors import Invalid, NotNow

FOLDS = ("words",)


def game(**fields: object) -> Game:
    return Game(**({"game_id": "g", "title": "G", "spread": 1} | fields))


def poll(**fields: object) -> Poll:
    options = [PollOption(option_id=o, label=o) for o in "abc"]
    return Poll(**({"game_id": "g", "poll_id": "p", "question": "Q?", "options": options} | fields))


def board(season: Season | None = None, **fields: Any) -> Board:
    return Board(game_id="g", board_id="b", title="B", mode=BOARD_MODE_BEST, season=season, **fields)


def season(seconds: float, starts_at_s: int | None = None) -> Season:
    made = Season()
    made.every.FromNanoseconds(int(seconds * 1e9))
    if starts_at_s is not None:
        made.starts_at.seconds = starts_at_s
    return made


def metrics(count: int) -> list[Metric]:
    return [Metric(metric_id=f"m{n}") for n in range(count)]


def customs(count: int, **fields: object) -> list[CustomTopic]:
    return [CustomTopic(**({"custom_id": f"c{n}", "fold": "words"} | fields)) for n in range(count)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (game(metrics=metrics(17)), "game.metrics: 17 metrics; at most 16 are allowed"),
        (
            game(metrics=[Metric(metric_id="a b")]),
            r"game.metrics\[0\].metric_id: 'a b' has the character ' '",
        ),
        (game(metrics=metrics(1) * 2), "game.metrics.metric_id: 'm0' comes twice"),
        (game(metrics=[Metric(metric_id="m", unit="x" * 17)]), r"unit: 'x*' has 17 characters; at most 16"),
        (game(metrics=[Metric(metric_id="m", unit="a\n")]), "does not print"),
        (game(title="a\u202eb"), "does not print"),
        (game(customs=customs(9)), "game.customs: 9 custom topics; at most 8 are allowed"),
        (game(customs=customs(1) * 2), "game.customs.custom_id: 'c0' comes twice"),
        (game(customs=customs(1, fold="other")), r"customs\[0\].fold: 'other' is not registered.*are words"),
        (game(customs=customs(1, config=b"x" * 4_097)), "4097 bytes; at most 4096 are allowed"),
        (game(pulses=[Pulse(pulse_id=f"p{n}", kinds=["a"]) for n in range(9)]), "9 pulses; at most 8"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_game_is_refused(wanted: Game, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_game(wanted, FOLDS)


def test_a_full_game_is_taken() -> None:
    full = game(
        pulses=[Pulse(pulse_id="p", kinds=["a", "b"])],
        metrics=metrics(aggregate_bounds.METRICS_MAX),
        customs=customs(aggregate_bounds.CUSTOMS_MAX, config=b"x" * aggregate_bounds.CUSTOM_CONFIG_BYTES_MAX),
        audience=True,
    )
    assert check_game(full, FOLDS) == full


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (poll(choices_max=4), "poll.choices_max: is 4; at most 3 are allowed"),
        (poll(weight_max=1_001), "poll.weight_max: is 1001; at most 1000 is allowed"),
        (poll(voters=7), "poll.voters: is 7; one of POLL_VOTERS_UNSPECIFIED, POLL_VOTERS_PLATFORM is needed"),
    ],
)
def test_a_bad_poll_is_refused(wanted: Poll, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_poll(wanted)


def test_the_same_poll_said_in_two_ways_is_one_definition() -> None:
    assert check_poll(poll()) == check_poll(poll(choices_max=1, weight_max=1))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (season(9.999), "board.season.every: is 9.999 s; 10 s to 366 days are allowed"),
        (season(366 * 86_400 + 1), "10 s to 366 days are allowed"),
        (season(60, -1), "board.season.starts_at: is -1 s; a moment from 1970 to 9999 is needed"),
        (season(60, 2**60), "a moment from 1970 to 9999"),
        (Season(), "board.season.every: is 0 s"),
    ],
)
def test_a_bad_season_is_refused(wanted: Season, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_board(board(wanted))


def test_a_season_whose_beginning_the_server_chose_is_still_the_same_definition() -> None:
    wanted = check_board(board(season(60)))
    known = Board()
    known.CopyFrom(wanted)
    known.season.starts_at.seconds = 1_000
    known.opened_at.seconds = 1_001
    assert same_definition(known, wanted)
    assert same_definition(known, check_board(known))
    assert not same_definition(known, check_board(board(season(60, 999))))
    assert not same_definition(known, check_board(board(season(61))))
    assert not same_definition(known, check_board(board()))
    assert same_definition(check_board(board()), check_board(board()))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (board(points_min=-(2**53) - 1), "board.points_min: -9007199254740993 is out of range; -2"),
        (board(points_min=2**53 + 1), "board.points_min: 9007199254740993 is out of range"),
        (board(points_max=2**53 + 1), "board.points_max: is 9007199254740993"),
        (board(points_min=5, points_max=4), r"board.points_max: is 4; 5 \(points_min\) to 2\^53"),
        (board(writers=9), "board.writers: is 9; WRITERS_PRODUCERS or WRITERS_ACTORS is needed"),
    ],
)
def test_a_board_that_nobody_could_write_is_refused(wanted: Board, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_board(wanted)
    assert check_board(board(points_min=-(2**53), points_max=2**53)).points_max == 2**53
    assert check_board(board(points_min=0, points_max=0)).HasField("points_min")


P, A, NONE = WRITERS_PRODUCERS, WRITERS_ACTORS, WRITERS_UNSPECIFIED


@pytest.mark.parametrize(
    ("known", "asked", "is_same"),
    [
        (P, NONE, True), (P, P, True), (P, A, False),
        (A, NONE, False), (A, P, False), (A, A, True),
        # Defined before there was a choice: for actors, and who repeats its definition is answered as then.
        (NONE, NONE, True), (NONE, A, True), (NONE, P, False),
    ],
)  # fmt: skip
def test_what_is_for_actors_or_producers_stays_so_whoever_defines_it_again(
    known: Writers, asked: Writers, is_same: bool
) -> None:
    assert same_definition(check_board(board(writers=known)), check_board(board(writers=asked))) is is_same
    there = game(
        metrics=[Metric(metric_id="m", writers=known)],
        customs=[CustomTopic(custom_id="c", fold="words", writers=known)],
    )
    wanted = game(
        metrics=[Metric(metric_id="m", writers=asked), Metric(metric_id="new")],
        customs=[CustomTopic(custom_id="c", fold="words", writers=asked)],
    )
    if not is_same:
        with pytest.raises(NotNow, match=r"game.metrics: 'm' .* cannot be altered"):
            definition_merge.check_and_merge(there, check_game(wanted, FOLDS), has_topics=False)
        return
    merged = definition_merge.check_and_merge(there, check_game(wanted, FOLDS), has_topics=False)
    assert [(m.metric_id, m.writers) for m in merged.metrics] == [("m", known), ("new", P)]
    assert [c.writers for c in merged.customs] == [known]


def test_a_metric_or_custom_topic_with_unknown_writers_is_refused() -> None:
    for wanted in (
        game(metrics=[Metric(metric_id="m", writers=7)]),  # type: ignore[arg-type]
        game(customs=customs(1, writers=7)),
    ):
        with pytest.raises(Invalid, match=r"\[0\].writers: is 7; WRITERS_PRODUCERS or WRITERS_ACTORS"):
            check_game(wanted, FOLDS)


KNOWN = game(
    pulses=[Pulse(pulse_id="p", kinds=["a", "b"])], metrics=[Metric(metric_id="m", unit="ms")],
    customs=customs(1, config=b"1"), audience=True,
)  # fmt: skip


def changed(**fields: object) -> Game:
    wanted = Game()
    wanted.CopyFrom(KNOWN)
    for name in fields:
        wanted.ClearField(name)  # type: ignore[arg-type]
    wanted.MergeFrom(Game(**fields))
    return wanted


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (changed(pulses=[]), "game.pulses: 'p' counts in game 'g' and cannot be taken away"),
        (
            changed(pulses=[Pulse(pulse_id="p", kinds=["a"])]),
            "game.pulses.kinds of 'p': 'b' counts in game 'g'",
        ),
        (changed(metrics=[]), "game.metrics: 'm' counts in game 'g' and cannot be taken away"),
        (changed(metrics=[Metric(metric_id="m", unit="s")]), "game.metrics: 'm' .* cannot be altered"),
        (changed(customs=[]), "game.customs: 'c0' counts in game 'g' and cannot be taken away"),
        (changed(customs=customs(1, config=b"2")), "game.customs: 'c0' .* cannot be altered"),
        (changed(audience=False), "game.audience: is counted in game 'g' and cannot be taken away"),
        (changed(spread=4), "game.spread: is 1 and cannot become 4 while game 'g' has topics"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_counts_is_neither_taken_away_nor_altered(wanted: Game, message: str) -> None:
    with pytest.raises(NotNow, match=message):
        definition_merge.check_and_merge(KNOWN, wanted, has_topics=False)


def test_a_title_changes_and_what_is_new_comes_last() -> None:
    wanted = changed(title="New", pulses=[Pulse(pulse_id="q", kinds=["x"]), Pulse(pulse_id="p", kinds="cba")])
    merged = definition_merge.check_and_merge(KNOWN, wanted, has_topics=True)
    assert merged.title == "New"
    assert [(p.pulse_id, list(p.kinds)) for p in merged.pulses] == [("p", ["a", "b", "c"]), ("q", ["x"])]
    assert definition_merge.check_and_merge(merged, wanted, has_topics=True) == merged


def test_a_games_spread_changes_while_it_has_no_topic() -> None:
    assert definition_merge.check_and_merge(game(), game(spread=4), has_topics=False).spread == 4
    with pytest.raises(NotNow):
        definition_merge.check_and_merge(game(), game(spread=4), has_topics=True)


def things(draw: random.Random) -> Game:
    """A definition of which each is a subset of one that is larger."""
    return game(
        pulses=[
            Pulse(pulse_id=p, kinds=draw.sample("xyz", draw.randint(1, 3)))
            for p in draw.sample("pq", draw.randint(0, 2))
        ],
        metrics=[Metric(metric_id=m) for m in draw.sample("mn", draw.randint(0, 2))],
        customs=[
            CustomTopic(custom_id=c, fold="words", config=draw.choice([b"1", b"2"]))
            for c in draw.sample("cd", draw.randint(0, 2))
        ],
        audience=draw.random() < 0.5,
    )


def topics(defined: Game) -> set[tuple[str, ...]]:
    """The naive oracle: all a definition counts, as a set."""
    return {
        *(("pulse", p.pulse_id, kind) for p in defined.pulses for kind in p.kinds),
        *(("metric", m.metric_id) for m in defined.metrics),
        *(("custom", c.custom_id) for c in defined.customs),
        *([("audience",)] if defined.audience else []),
    }


@given(st.randoms(use_true_random=False))
def test_definitions_unite_as_sets_do_and_the_newer_configuration_stands(draw: random.Random) -> None:
    one, other = things(draw), things(draw)
    both = definition_merge.merge(one, other)
    assert topics(both) == topics(one) | topics(other)
    configured = {c.custom_id: c.config for c in one.customs} | {c.custom_id: c.config for c in other.customs}
    assert {c.custom_id: c.config for c in both.customs} == configured
    assert definition_merge.merge(both, both) == both


@given(st.randoms(use_true_random=False))
def test_a_definition_grows_exactly_when_nothing_of_it_would_go(draw: random.Random) -> None:
    known, wanted = things(draw), things(draw)
    configured = {c.custom_id: c.config for c in wanted.customs}
    kept = topics(known) <= topics(wanted)
    same = all(configured.get(c.custom_id, c.config) == c.config for c in known.customs)
    try:
        merged = definition_merge.check_and_merge(known, wanted, has_topics=True)
    except NotNow:
        assert not (kept and same)
    else:
        assert kept
        assert same
        assert topics(merged) == topics(wanted)
        assert definition_merge.check_and_merge(merged, wanted, has_topics=True) == merged
