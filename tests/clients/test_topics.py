"""Shared topics are matched by patterns; personal ones are named, and matched by none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Invalid
from grandstand.wire.topics import (
    KINDS,
    PersonalTopics,
    TopicPatterns,
    is_personal,
    split_topics,
    standing_of,
)

TOPICS = ["poll/mvp", "board/top", "pulse/cheer", "audience", "metric/fps", "custom/bingo"]
PERSONAL = ["inbox", "standing/top"]


def test_without_a_topic_everything_shared_is_watched_and_nothing_personal() -> None:
    for nothing_named in ([], ["*"]):
        patterns, personal = split_topics(nothing_named)
        assert all(patterns.match(topic) for topic in TOPICS)
        assert not any(patterns.match(topic) for topic in PERSONAL)
        assert personal == PersonalTopics()
        assert not personal


def test_who_names_personal_topics_only_is_shown_nothing_shared() -> None:
    patterns, personal = split_topics(["inbox", "standing/top", "standing/top", "standing/laps"])
    assert not any(patterns.match(topic) for topic in [*TOPICS, *PERSONAL])
    assert personal
    assert personal == PersonalTopics(inbox=True, boards=frozenset({"top", "laps"}))
    assert patterns == split_topics(["inbox"])[0] == TopicPatterns.nothing()
    assert patterns != TopicPatterns([])


def test_one_board_alone_is_something_personal() -> None:
    assert split_topics(["standing/top"])[1]
    assert split_topics(["inbox"])[1]


def test_personal_topics_leave_the_patterns_beside_them_alone() -> None:
    patterns, personal = split_topics(["poll/*", "inbox", "audience"])
    assert patterns == TopicPatterns(["audience", "poll/*"])
    assert hash(patterns) == hash(TopicPatterns(["audience", "poll/*"]))
    assert [topic for topic in TOPICS if patterns.match(topic)] == ["poll/mvp", "audience"]
    assert personal == PersonalTopics(inbox=True)


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        (
            ["standing/*"],
            "topics: 'standing/*' is no topic; personal ones have no patterns",
        ),
        (["standing/t*p"], "'standing/t*p' is no topic"),
        (["standing"], "topics: 'standing': board: is empty; give 1 to 64 characters"),
        (["standing/"], "topics: 'standing/': board: is empty"),
        (["standing/a b"], "has the character ' '; allowed are"),
        (["standing/" + "x" * 65], "has 65 characters; at most 64 are allowed"),
        (["inbox/ann"], "topics: 'inbox/ann' is no topic; an actor's notifications are 'inbox'"),
        (["inbox/*"], "topics: 'inbox/*' is no topic"),
        (["inbox*"], "is no pattern"),
        (["Inbox"], "is none of poll/<id>"),
        (["inbox"] * 33, "33 topics; at most 32 are allowed"),
        (
            [standing_of(f"b{n}") for n in range(wire_bounds.STANDINGS_MAX + 1)],
            "topics: 5 of standing/<board>; at most 4 are allowed, ask AggregateService.ReadStanding",
        ),
    ],
)
def test_what_is_no_topic_is_named_with_the_way_out(topics: list[str], message: str) -> None:
    with pytest.raises(Invalid, match=re.escape(message)):
        split_topics(topics)


def test_the_most_that_is_allowed_is_allowed() -> None:
    boards = [f"b{n}" for n in range(wire_bounds.STANDINGS_MAX)]
    shared = [f"poll/{n}" for n in range(wire_bounds.TOPIC_PATTERNS_MAX - len(boards) - 1)]
    patterns, personal = split_topics([*shared, "inbox", *map(standing_of, boards)])
    assert all(patterns.match(topic) for topic in shared)
    assert personal == PersonalTopics(inbox=True, boards=frozenset(boards))


@given(st.lists(st.sampled_from(["*", "poll/*", "board/*", *TOPICS, *PERSONAL]), max_size=8))
def test_no_pattern_matches_a_personal_topic_and_none_is_lost(topics: list[str]) -> None:
    patterns, personal = split_topics(topics)
    assert not any(patterns.match(topic) for topic in PERSONAL)
    assert personal.inbox == ("inbox" in topics)
    assert personal.boards == ({"top"} if "standing/top" in topics else set())
    shared = [topic for topic in topics if not is_personal(topic)]
    if shared:
        assert patterns == TopicPatterns(shared)
    else:
        assert patterns == (TopicPatterns.nothing() if topics else TopicPatterns(["*"]))


def test_kinds_of_shared_and_personal_topics_are_different() -> None:
    assert not any(map(is_personal, KINDS))
    assert all(map(is_personal, PERSONAL))
