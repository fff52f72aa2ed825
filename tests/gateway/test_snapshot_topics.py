"""What a Snapshot shows when there is more than it may hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import snapshot_topics
from gateway.snapshot_topics import Candidate, choose

NOW_S = 1e9
TOPICS_MAX, BYTES_MAX = snapshot_topics.SNAPSHOT_TOPICS_MAX, snapshot_topics.SNAPSHOT_BYTES_MAX


def open_topics(count: int, encoded_bytes: int = 100) -> list[Candidate]:
    return [Candidate(f"poll/open{n:03d}", encoded_bytes, n, None) for n in range(count)]


def sealed_topics(count: int, ago_s: float) -> list[Candidate]:
    """The first was sealed first, `ago_s` and as many seconds ago as there are."""
    return [Candidate(f"poll/s{ago_s:.0f}-{n:03d}", 100, n, NOW_S - ago_s - count + n) for n in range(count)]


def test_all_that_fits_is_shown_by_name() -> None:
    found = open_topics(TOPICS_MAX)
    assert choose(reversed(found), (), NOW_S) == ([each.topic for each in found], False)
    assert choose([], (), NOW_S) == ([], False)


def test_what_is_not_sealed_comes_first_and_of_it_what_changed_last() -> None:
    chosen = choose([*sealed_topics(50, 10), *open_topics(100)], (), NOW_S)
    assert chosen.more
    assert {each.topic for each in open_topics(100)} < set(chosen.topics)
    newest = {each.topic for each in sealed_topics(50, 10)[-28:]}
    assert {topic for topic in chosen.topics if "open" not in topic} == newest
    chosen = choose(open_topics(TOPICS_MAX + 2), (), NOW_S)
    assert chosen == ([each.topic for each in open_topics(TOPICS_MAX + 2)[2:]], True)


def test_of_what_was_sealed_long_ago_eight_are_shown_and_what_is_named() -> None:
    old, fresh = sealed_topics(20, 601), sealed_topics(20, 100)
    chosen = choose([*old, *fresh, *open_topics(3)], {old[0].topic}, NOW_S)
    assert set(chosen.topics) == {each.topic for each in [old[0], *old[-8:], *fresh, *open_topics(3)]}
    assert chosen.more
    assert not choose([*old[:8], *fresh], (), NOW_S).more


def test_a_snapshot_has_a_mebibyte_and_what_is_too_great_leaves_room_for_the_next() -> None:
    great = Candidate("board/great", BYTES_MAX - 250, 9, None)
    chosen = choose([great, *open_topics(5, 200)], (), NOW_S)
    assert chosen == (["board/great", "poll/open004"], True)
    assert choose([Candidate("board/greater", 2 * BYTES_MAX, 1, None)], (), NOW_S).topics == ["board/greater"]
    many = choose(open_topics(64, BYTES_MAX // 32), (), NOW_S)
    assert (len(many.topics), many.more) == (32, True)


@given(
    st.lists(
        st.builds(
            Candidate,
            st.integers(0, 400).map("poll/{}".format),
            st.integers(1, 40_000),
            st.integers(0, 1_000),
            st.none() | st.floats(NOW_S - 2_000, NOW_S),
        ),
        max_size=300,
        unique_by=lambda each: each.topic,
    ),
    st.sets(st.integers(0, 400).map("poll/{}".format), max_size=64),
)
def test_it_is_bounded_and_nothing_sealed_takes_the_place_of_what_is_not(
    found: list[Candidate], named: set[str]
) -> None:
    chosen = choose(found, named, NOW_S)
    by_name = {each.topic: each for each in found}
    assert chosen.topics == sorted(set(chosen.topics) & by_name.keys())
    assert chosen.more == (len(chosen.topics) < len(found))
    assert len(chosen.topics) <= TOPICS_MAX
    assert sum(by_name[topic].encoded_bytes for topic in chosen.topics) <= BYTES_MAX
    if len(chosen.topics) == TOPICS_MAX and any(
        each.sealed_at_s is None and each.topic not in chosen.topics and each.encoded_bytes == 1
        for each in found
    ):
        assert all(by_name[topic].sealed_at_s is None or topic in named for topic in chosen.topics)
