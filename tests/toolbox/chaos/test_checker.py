"""Chaos finds every acked event that is lost, and every one that is counted twice.

The results are made here by counting naively what a mesh would have counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED
from toolbox.chaos import scene
from toolbox.chaos.checker import TopicKey, Verdict, compare, shows_score, unsealed
from toolbox.chaos.closings import closings
from toolbox.chaos.entries import Book, Entry, EventStatus
from toolbox.chaos.floor import below, floor
from toolbox.chaos.monotone import setback
from toolbox.chaos.stalls import Stalls
from toolbox.chaos.workload import Seats, Workload

GAME = scene.scenes(60, 300, closings(1, 60, []))[0]
REPLACED = ("poll/changeable", "board/best")


def history(seed: int, events: int = 250) -> list[Entry]:
    """What a producer and a viewer of one game send, all of it acked."""
    random = Random(seed)
    seats = Seats(GAME)
    authors = [Workload("p0", GAME, seats, random), Workload("v0", GAME, seats, random, "v0")]
    authors += [Workload("d0", GAME, seats, random, "d0", device) for device in ("d0.0", "d0.1")]
    book = Book()
    for author in random.choices(authors, (10, 10, 1, 1), k=events):
        entry = author.next()[1]
        book.sent(entry)
        book.ack(entry, iter([]))
    return book.entries


def count(entries: Iterable[Entry]) -> dict[TopicKey, TopicState]:
    """Counts every entry as often as it is there, in this order."""
    by_topic: dict[TopicKey, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_topic[(entry.game_id, entry.topic)].append(entry)
    return {key: _count_topic(key[1], told) for key, told in by_topic.items()}


def _count_topic(topic: str, told: list[Entry]) -> TopicState:
    state = TopicState(topic=topic)
    kind, _, name = topic.partition("/")
    if kind == "poll":
        _count_votes(state, told, changeable=name == "changeable")
    elif kind == "board":
        points: Counter[str] = Counter()
        for entry in told:
            was = points[entry.actor_id]
            points[entry.actor_id] = (
                max(was, int(entry.amount)) if name == "best" else was + int(entry.amount)
            )
        for actor, sum_ in points.items():
            state.board.entries.add(actor_id=actor, points=sum_)
    elif kind == "pulse":
        totals: Counter[str] = Counter()
        for entry in told:
            totals[entry.label] += int(entry.amount)
        for label, total in totals.items():
            state.pulse.kinds.add(kind=label, total=total)
    elif kind == "metric":
        values = [entry.amount for entry in told]
        state.metric.count, state.metric.min, state.metric.max = len(values), min(values), max(values)
    else:
        state.audience.uniques = len({entry.actor_id for entry in told})
    return state


def _count_votes(state: TopicState, told: list[Entry], *, changeable: bool) -> None:
    """A doubled vote of a final poll is counted twice here, as a mesh without windows would."""
    counting = {entry.actor_id: entry for entry in told}.values() if changeable else told
    votes: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    for entry in counting:
        votes.update(entry.options)
        weight.update(dict.fromkeys(entry.options, int(entry.amount)))
    for option in scene.OPTIONS:
        state.tally.options.add(option_id=option, votes=votes[option], weight=weight[option])
    state.tally.voters = len(counting)


def found(verdict: Verdict) -> tuple[int, int]:
    return verdict.lost, verdict.doubled


@given(st.integers(0, 2**32))
def test_an_honest_count_is_found_right(seed: int) -> None:
    entries = history(seed)
    verdict = compare(entries, count(entries))
    assert found(verdict) == (0, 0), verdict.findings
    assert verdict.acked == verdict.counted == len(entries)


@given(st.integers(0, 2**32), st.data())
def test_a_lost_event_is_found(seed: int, data: st.DataObject) -> None:
    """An event that was replaced by a later one leaves no trace, lost or not."""
    entries = history(seed)
    last = {(e.topic, e.actor_id): e for e in entries}
    visible = [e for e in entries if e.topic not in (*REPLACED, "audience") or last[e.topic, e.actor_id] is e]
    visible = [e for e in visible if e.topic not in ("board/best", "audience")]
    gone = data.draw(st.sampled_from(visible))
    verdict = compare(entries, count(entry for entry in entries if entry is not gone))
    before = [e for e in entries if (e.topic, e.actor_id) == (gone.topic, gone.actor_id) and e is not gone]
    if gone.topic == "poll/changeable" and before and before[-1].options == gone.options:
        assert found(verdict) == (0, 0)
    else:
        assert found(verdict) == (1, 0), verdict.findings
        assert gone.topic in verdict.findings[0].where


@given(st.integers(0, 2**32), st.data())
def test_an_event_counted_twice_is_found(seed: int, data: st.DataObject) -> None:
    entries = history(seed)
    twice = data.draw(st.sampled_from([e for e in entries if e.topic not in (*REPLACED, "audience")]))
    verdict = compare(entries, count([*entries, twice]))
    assert found(verdict) == (0, 1), verdict.findings


@given(st.integers(0, 2**32), st.data())
def test_one_lost_and_another_doubled_do_not_make_up_for_each_other_on_a_board(
    seed: int, data: st.DataObject
) -> None:
    entries = history(seed)
    scores = [entry for entry in entries if entry.topic.startswith(("board/sum-", "board/season-"))]
    lost, doubled = data.draw(st.lists(st.sampled_from(scores), min_size=2, max_size=2, unique_by=id))
    verdict = compare(entries, count([*(entry for entry in entries if entry is not lost), doubled]))
    assert found(verdict) == (1, 1), verdict.findings


@pytest.mark.parametrize("fate", [EventStatus.UNCERTAIN, EventStatus.SENT])
@given(seed=st.integers(0, 2**32), data=st.data())
def test_what_was_not_answered_may_count_or_not(fate: EventStatus, seed: int, data: st.DataObject) -> None:
    entries = history(seed)
    unsure = data.draw(st.lists(st.sampled_from(entries), max_size=20, unique_by=id))
    for entry in unsure:
        entry.fate = fate
    counted = [e for e in entries if e.fate is EventStatus.ACKED or data.draw(st.booleans())]
    verdict = compare(entries, count(counted))
    assert found(verdict) == (0, 0), verdict.findings
    assert verdict.uncertain == len(unsure)


@given(st.integers(0, 2**32), st.data())
def test_a_refused_event_that_was_counted_all_the_same_is_found(seed: int, data: st.DataObject) -> None:
    entries = history(seed)
    sums = [entry for entry in entries if entry.topic.startswith(("board/sum-", "poll/final", "pulse/"))]
    refused = data.draw(st.sampled_from(sums))
    refused.fate = EventStatus.REFUSED
    assert found(compare(entries, count(e for e in entries if e is not refused))) == (0, 0)
    assert found(compare(entries, count(entries))) == (0, 1)


def test_results_that_are_missing_altogether_are_lost() -> None:
    entries = [entry for entry in history(1) if entry.topic not in REPLACED]
    verdict = compare(entries, {})
    assert verdict.lost >= len([entry for entry in entries if not entry.topic.startswith("audience")]) * 0.9
    assert verdict.counted == verdict.acked - verdict.lost


def test_an_event_is_told_its_fate_once() -> None:
    book = Book()
    entry = history(1, 1)[0]
    entry.fate = EventStatus.SENT
    book.sent(entry)
    book.ack(entry, iter([(3, 8), (4, 9)]))
    assert (book.outstanding, book.acked, book.positions) == (0, 1, {3: 8, 4: 9})
    with pytest.raises(AssertionError, match="told twice"):
        book.give_up(entry)


def test_an_actor_never_votes_twice_where_the_first_vote_is_final() -> None:
    votes = [e for e in history(3, 5_000) if e.topic.startswith("poll/") and e.topic != "poll/changeable"]
    assert len({(e.topic, e.actor_id) for e in votes}) == len(votes)


def votes_of_two_devices() -> tuple[Book, list[Entry]]:
    """Device 1 votes red, gold, and device 2 blue, of one actor; nothing is acked yet."""
    book = Book()
    votes = [
        Entry("hot", "poll/changeable", "d0", order, (option,), amount=1, origin=device)
        for device, order, option in (("d0.1", 0, "red"), ("d0.1", 1, "gold"), ("d0.2", 0, "blue"))
    ]
    return book, votes


def test_of_several_devices_the_vote_that_was_sent_after_the_others_were_acked_counts() -> None:
    book, votes = votes_of_two_devices()
    for vote in votes:
        book.sent(vote)
        book.ack(vote, iter([]))
    by_option = {vote.options[0]: found(compare(votes, count([vote]))) for vote in votes}
    assert by_option == {"red": (1, 0), "gold": (1, 0), "blue": (0, 0)}


def test_of_votes_of_several_devices_under_way_at_once_either_counts_and_never_an_older_one() -> None:
    book, votes = votes_of_two_devices()
    for vote in votes:
        book.sent(vote)
    for vote in votes:
        book.ack(vote, iter([]))
    by_option = {vote.options[0]: found(compare(votes, count([vote]))) for vote in votes}
    assert by_option == {"red": (0, 1), "gold": (0, 0), "blue": (0, 0)}, "nobody's newest vote was red"


def test_what_was_acked_for_a_closed_poll_is_lost_if_the_sealed_result_lacks_it() -> None:
    votes = [entry for entry in history(4, 2_000) if entry.topic.startswith(scene.CLOSING_TOPICS)]
    sealed = count(votes[1:])
    for state in sealed.values():
        state.stage = STAGE_SEALED
    assert len({vote.topic for vote in votes}) > 1
    assert found(compare(votes, sealed)) == (1, 0)


def test_of_a_board_that_was_seen_in_part_nothing_is_lost_and_all_that_is_doubled_is_found() -> None:
    scores = [entry for entry in history(4, 2_000) if entry.topic == "board/season-short"]
    key = ("hot", "board/season-short")
    assert found(compare(scores, count(scores[1:]), {key})) == (0, 0)
    assert found(compare(scores, count([*scores, scores[0]]), {key})) == (0, 1)


@given(st.integers(0, 2**32))
def test_whoever_looks_first_is_shown_all_that_was_acked_before(seed: int) -> None:
    entries = history(seed)
    least = floor(entries[:200], "hot")
    for acked, is_shown in ((entries, True), (entries[:200], True), (entries[:100], False)):
        shown = [state for (_, topic), state in count(acked).items()]
        for state in shown:
            if state.topic.startswith("board/"):
                state.board.actors = len(state.board.entries)
        assert (not list(below(least, shown))) is is_shown
    assert not floor(entries, "calm-1")


def test_a_board_shows_a_score_by_its_digit() -> None:
    entries = [entry for entry in history(7) if entry.topic == "board/sum-1" and entry.actor_id == "v0"]
    all_but_one = [entry for entry in entries if entry is not entries[2]]
    board = count(all_but_one)["hot", "board/sum-1"].board
    assert [shows_score(board, entry) for entry in entries] == [entry in all_but_one for entry in entries]


def test_closed_polls_must_be_sealed() -> None:
    states = {
        ("g", "poll/a"): TopicState(stage=STAGE_SEALED),
        ("g", "poll/b"): TopicState(stage=STAGE_CLOSED),
    }
    assert unsealed(states, states) == [("g", "poll/b")]


def test_what_shrinks_or_changes_after_the_seal_went_back() -> None:
    entries = history(5)
    earlier, later = count(entries[:180]), count(entries)
    for key, state in earlier.items():
        assert setback(state, later[key]) is None
    for key, state in later.items():
        if key[1].startswith(("poll/final", "board/sum-1", "pulse/", "metric/")):
            assert setback(state, earlier[key]) is not None
    sealed = TopicState(topic="poll/final", stage=STAGE_SEALED)
    sealed.tally.CopyFrom(earlier["hot", "poll/final"].tally)
    more = TopicState(topic="poll/final", stage=STAGE_SEALED)
    more.tally.CopyFrom(later["hot", "poll/final"].tally)
    reopened = TopicState(topic="poll/final", stage=STAGE_OPEN, tally=sealed.tally)
    assert setback(sealed, sealed) is None
    assert "after the seal" in (setback(sealed, more) or "")
    assert "not any more" in (setback(sealed, reopened) or "")


def test_a_stall_lasts_from_what_is_owed_to_what_comes() -> None:
    stalls = Stalls()
    stalls.paid(5.0, still_owed=False)
    stalls.owed(10.0)
    stalls.owed(11.0)
    stalls.paid(12.5, still_owed=True)
    stalls.paid(13.0, still_owed=False)
    assert stalls.longest_s == 2.5
    stalls.look(99.0)
    assert stalls.longest_s == 2.5
    stalls.owed(100.0)
    stalls.look(104.0)
    assert stalls.longest_s == 4.0


@pytest.mark.parametrize("topic", ["poll/final", "board/sum-1"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_what_was_taken_back_counts_no_more_and_what_came_after_it_does(topic: str, again: bool) -> None:
    book = Book()
    for order in range(1 + again):
        entry = Entry(
            "hot", topic, "ann", order, (scene.OPTIONS[order],), amount=1 if "poll" in topic else 4**order
        )
        book.sent(entry)
        book.ack(entry, iter([]))
    was, *later = book.entries
    book.void(was)
    right, wrong = count(later), count([was])
    for states in (right, wrong):
        state = states.setdefault(("hot", topic), TopicState(topic=topic))
        if topic == "poll/final":
            state.tally.voided = int(not again)
    found = compare(book.entries, right)
    assert (found.lost, found.doubled, found.acked) == (0, 0, int(again)), found
    assert compare(book.entries, wrong).findings
    if topic == "poll/final":
        right["hot", topic].tally.voided = int(again)
        assert compare(book.entries, right).findings, "the voided are told"
