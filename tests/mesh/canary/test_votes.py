"""What the canary makes of acks and frames, in whatever order they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.canary.measurements import Measurements, quantile
from mesh.canary.objectives import SETTLED_S
from mesh.canary.votes import JudgedVote, VoteBook, VoteOutcome

ACKED = JudgedVote(VoteOutcome.ACKED)


def test_a_vote_is_seen_in_the_first_frame_that_includes_and_shows_it() -> None:
    book = VoteBook()
    number = book.due(10.0)
    assert (book.unacked_since_s, book.unseen_since_s) == (10.0, 10.0)
    assert list(book.shown({3: 6}, {0}, 10.01)) == []
    assert list(book.acked(number, {3: 7}, 10.02)) == [ACKED]
    assert (book.unacked_since_s, book.unseen_since_s) == (None, 10.0)
    # It includes the vote, and shows none of its kind: what is shown is wrong.
    assert list(book.shown({3: 7}, {number + 5}, 10.03)) == []
    (seen,) = book.shown({3: 8}, {number}, 10.04)
    assert seen.seen_after_s == pytest.approx(0.04)
    assert book.unseen_since_s is None
    assert book.recent(11.0) == [pytest.approx(0.04)]
    assert not list(book.shown({3: 9}, {number}, 10.05)), "it is seen once"


def test_a_frame_that_comes_before_the_ack_counts_from_when_it_came() -> None:
    book = VoteBook()
    number = book.due(10.0)
    assert list(book.shown({3: 7}, {number}, 10.01)) == []
    acked, seen = book.acked(number, {3: 7}, 10.5)
    assert acked == ACKED
    assert seen.seen_after_s == pytest.approx(0.01)
    assert book.last_seen_s == 10.01


def test_a_frame_that_shows_a_later_vote_shows_those_before_it() -> None:
    book = VoteBook()
    first, second = book.due(10.0), book.due(11.0)
    for number in (first, second):
        list(book.acked(number, {3: number}, 12.0))
    assert [each.seen_after_s for each in book.shown({3: second}, {second}, 13.0)] == [3.0, 2.0]


def test_what_is_late_is_judged_once_and_a_late_ack_ends_the_stall_all_the_same() -> None:
    book = VoteBook()
    number = book.due(10.0)
    assert list(book.expire(10.0 + SETTLED_S - 0.1)) == []
    assert list(book.expire(10.0 + SETTLED_S)) == [JudgedVote(VoteOutcome.UNANSWERED)]
    assert list(book.expire(30.0)) == []
    assert list(book.acked(number, {3: 7}, 31.0)) == []
    assert (book.unacked_since_s, book.last_ack_s) == (None, 31.0)
    assert list(book.shown({3: 7}, {number}, 32.0)) == []
    assert (book.unseen_since_s, book.last_seen_s) == (None, 32.0)
    other = book.due(40.0)
    list(book.acked(other, {3: 8}, 40.1))
    assert list(book.expire(50.0)) == [JudgedVote(None)]
    assert book.unseen_since_s == 40.0, "nothing was shown since"


def test_one_lost_vote_among_others_is_no_stall() -> None:
    book = VoteBook()
    book.due(10.0)
    second = book.due(11.0)
    list(book.acked(second, {3: 2}, 11.1))
    list(book.shown({3: 2}, {second}, 11.2))
    assert (book.unacked_since_s, book.unseen_since_s) == (None, None)


def test_who_shares_its_actor_goes_by_positions_alone() -> None:
    book = VoteBook(0)
    number = book.due(10.0)
    list(book.acked(number, {3: 7}, 10.1))
    assert [each.seen_after_s for each in book.shown({3: 7}, {99}, 10.25)] == [0.25]


@given(st.lists(st.sampled_from(["due", "ack", "refuse", "frame", "wait"]), max_size=60), st.integers(1, 64))
def test_every_vote_has_one_outcome_and_an_acked_one_is_seen_or_unseen_once(
    steps: list[str], options: int
) -> None:
    book, counted, now_s, open_votes, acked = VoteBook(options), Measurements(), 100.0, list[int](), 0
    for step in steps:
        now_s += 0.3
        if step == "due":
            open_votes.append(book.due(now_s))
        elif step in ("ack", "refuse") and open_votes:
            number = open_votes.pop(0)
            if step == "ack":
                acked = number
            counted.count(
                book.acked(number, {1: number}, now_s) if step == "ack" else book.refused(number), now_s
            )
        elif step == "frame":
            counted.count(book.shown({1: acked}, {acked % options}, now_s), now_s)
        elif step == "wait":
            now_s += SETTLED_S / 2
        counted.count(book.expire(now_s), now_s)
    counted.count(book.expire(now_s + 2 * SETTLED_S), now_s)
    sent = steps.count("due")
    assert sum(counted.votes.values()) == sent
    assert counted.freshness.count + counted.unseen == counted.votes[VoteOutcome.ACKED]
    assert not book.waits
    if book.unacked_since_s is None and book.unseen_since_s is None:
        assert sent == 0 or book.last_seen_s > 0


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([], 0.5) is None
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
