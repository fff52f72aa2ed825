"""The window of a publishing session: numbered without gaps, bounded by credit, settled once (I2)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grandstand.client.outbox import Outbox

UNBOUNDED = 1 << 30


def filled(credit: int, count: int) -> Outbox[str]:
    outbox: Outbox[str] = Outbox(credit)
    outbox.resume()
    for number in range(count):
        outbox.append(f"event {number + 1}")
    return outbox


def test_numbers_start_at_one_and_have_no_gaps() -> None:
    outbox = filled(10, 3)
    assert outbox.take(UNBOUNDED, UNBOUNDED) == [(1, "event 1"), (2, "event 2"), (3, "event 3")]
    assert outbox.take(UNBOUNDED, UNBOUNDED) == []


def test_an_event_beyond_the_credit_is_not_taken() -> None:
    outbox = filled(2, 2)
    with pytest.raises(BufferError, match="credit is 2"):
        outbox.append("one too many")
    outbox.take(UNBOUNDED, UNBOUNDED)
    outbox.ack(1)
    assert outbox.append("event 3") == 3


def test_a_credit_that_shrank_holds_back_what_was_taken_before() -> None:
    outbox = filled(10, 5)
    outbox.credit = 2
    assert [seq for seq, _ in outbox.take(UNBOUNDED, UNBOUNDED)] == [1, 2]
    outbox.ack(1)
    assert [seq for seq, _ in outbox.take(UNBOUNDED, UNBOUNDED)] == [3]


def test_a_credit_of_nothing_sends_nothing_until_it_grows() -> None:
    outbox = filled(3, 2)
    outbox.credit = 0
    assert outbox.take(UNBOUNDED, UNBOUNDED) == []
    assert (outbox.room, outbox.unsent) == (0, 2)
    outbox.credit = 3
    assert [seq for seq, _ in outbox.take(UNBOUNDED, UNBOUNDED)] == [1, 2]
    assert outbox.room == 1


def test_what_was_not_acked_is_sent_again_under_the_same_numbers() -> None:
    outbox = filled(10, 4)
    outbox.take(3, UNBOUNDED)
    assert outbox.ack(1) == [(1, "event 1", False)]
    assert outbox.resume() == 2
    assert outbox.take(UNBOUNDED, UNBOUNDED) == [(2, "event 2"), (3, "event 3"), (4, "event 4")]


def test_a_refused_number_in_the_middle_is_sent_again_without_its_event() -> None:
    outbox = filled(10, 3)
    outbox.take(UNBOUNDED, UNBOUNDED)
    assert outbox.refuse(2) == ("event 2", False)
    assert outbox.resume() == 1
    assert outbox.take(UNBOUNDED, UNBOUNDED) == [(1, "event 1"), (2, None), (3, "event 3")]
    assert outbox.refuse(2) is None
    assert outbox.ack(3) == [(1, "event 1", True), (3, "event 3", True)]


def test_a_refused_number_at_the_start_is_not_sent_again() -> None:
    outbox = filled(10, 2)
    outbox.take(UNBOUNDED, UNBOUNDED)
    outbox.refuse(1)
    assert outbox.resume() == 2


def test_a_refusal_after_a_resend_says_that_an_earlier_copy_may_be_stored() -> None:
    outbox = filled(10, 1)
    outbox.take(UNBOUNDED, UNBOUNDED)
    outbox.resume()
    outbox.take(UNBOUNDED, UNBOUNDED)
    assert outbox.refuse(1) == ("event 1", True)


@pytest.mark.parametrize("answer", ["ack", "refuse"])
def test_an_answer_to_a_number_never_sent_is_a_broken_protocol(answer: str) -> None:
    outbox = filled(10, 2)
    outbox.take(1, UNBOUNDED)
    with pytest.raises(ValueError, match="2"):
        getattr(outbox, answer)(2)


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=50), bytes_max=st.integers(1, 200))
def test_a_batch_keeps_its_bound_in_bytes_and_always_moves_on(sizes: list[int], bytes_max: int) -> None:
    outbox: Outbox[int] = Outbox(100)
    outbox.resume()
    for size in sizes:
        outbox.append(size, size)
    seen: list[int] = []
    while batch := outbox.take(UNBOUNDED, bytes_max):
        taken = [size for _, size in batch if size is not None]
        assert len(batch) == 1 or sum(taken) <= bytes_max
        seen.extend(taken)
    assert seen == sizes


class Session(RuleBasedStateMachine):
    """An outbox against a model of ingest and its fold, over streams that break anywhere.

    Ingest stores or refuses each number of the stream as it reads it; its answers are on the way
    until delivered, and are lost when the stream breaks. The fold counts an identity once.
    """

    @initialize(credit=st.integers(1, 8))
    def open(self, credit: int) -> None:
        self.outbox: Outbox[int] = Outbox(credit)
        self.credit = credit
        self.handed_in = 0
        self.counted: dict[int, int] = {}  # seq -> event, as the fold has it
        self.acked: list[int] = []
        self.refused: dict[int, bool] = {}  # event -> maybe stored
        self._open_stream()

    def _open_stream(self) -> None:
        self.expected = self.outbox.resume()
        self.wire: list[tuple[int, int | None]] = []
        self.answers: list[tuple[str, int]] = []

    @precondition(lambda self: self.outbox.room)
    @rule()
    def hand_in(self) -> None:
        self.handed_in += 1
        assert self.outbox.append(self.handed_in) == self.handed_in

    @rule(credit=st.integers(0, 8))
    def credit_changes(self, credit: int) -> None:
        """What was sent before is taken; the widest credit is what bounds the window."""
        self.outbox.credit = credit
        self.credit = max(self.credit, credit)

    @rule(events_max=st.integers(1, 4))
    def send(self, events_max: int) -> None:
        self.wire.extend(self.outbox.take(events_max, UNBOUNDED))

    @precondition(lambda self: self.wire)
    @rule(refuse=st.booleans())
    def ingest_reads(self, refuse: bool) -> None:
        seq, event = self.wire.pop(0)
        assert seq == self.expected, "the numbers on a stream have no gaps"
        self.expected += 1
        if event is None or refuse:
            self.answers.append(("refuse", seq))
        else:
            assert self.counted.setdefault(seq, event) == event, "a resend carries the same event"
        self.answers.append(("ack", seq))

    @precondition(lambda self: self.answers)
    @rule()
    def answer_arrives(self) -> None:
        kind, seq = self.answers.pop(0)
        if kind == "ack":
            self.acked.extend(event for _, event, _ in self.outbox.ack(seq))
        elif (refused := self.outbox.refuse(seq)) is not None:
            event, maybe_stored = refused
            assert event not in self.refused
            self.refused[event] = maybe_stored

    @rule()
    def stream_breaks(self) -> None:
        self._open_stream()

    @invariant()
    def each_event_is_answered_at_most_once(self) -> None:
        if not hasattr(self, "outbox"):
            return
        assert len(self.acked) == len(set(self.acked))
        assert not set(self.acked) & set(self.refused)
        assert len(self.outbox) <= self.credit

    @invariant()
    def what_was_acked_is_counted_and_what_was_refused_for_sure_is_not(self) -> None:
        if not hasattr(self, "outbox"):
            return
        counted = set(self.counted.values())
        assert set(self.acked) <= counted
        assert not counted & {event for event, maybe_stored in self.refused.items() if not maybe_stored}

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.outbox.credit = self.credit
        self._open_stream()
        while True:
            self.send(4)
            if not self.wire:
                break
            while self.wire:
                self.ingest_reads(False)
            while self.answers:
                self.answer_arrives()
        assert len(self.outbox) == 0
        assert set(self.acked) | set(self.refused) == set(range(1, self.handed_in + 1))


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
