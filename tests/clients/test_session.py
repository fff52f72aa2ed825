"""The publishing side's pure core, against a model of the mesh with ingest's real IngestSession.

Whatever breaks, and whenever: every event gets exactly one answer, and the answer is true (I1, I2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grandstand.client.attempts import Again, Attempts, Over
from grandstand.client.backoff import Backoff
from grandstand.client.buffer import Priority
from grandstand.client.session import RETRIES_MAX, PublishSession, Send, Wait, WasRefused, WasShed, WasStored
from grandstand.client.stream_state import RENEW_AGAIN_S, Due, Phase, StreamState
from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import (
    Ack,
    Credit,
    Drain,
    Heartbeat,
    Hello,
    PublishResponse,
    Reject,
    TokenExpiring,
    Welcome,
)
from ingest.session import IngestSession, Input
from mesh.auth import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins

VERDICTS = ["store", "store", "shed", "refuse", "refuse", "retry", "retry", "maybe"]
UNAVAILABLE, UNAUTHENTICATED, DEADLINE_EXCEEDED = 14, 16, 4
INTERVAL_S = 8.0


def new_session(buffer_events_max: int = 10) -> PublishSession[str]:
    return PublishSession(buffer_events_max=buffer_events_max, backoff=Backoff(), draw=lambda: 0.5)


def welcome(session: PublishSession[str], credit: int = 64, **fields: Any) -> Hello:
    """Opens a stream at 0 s and welcomes it."""
    hello = session.opened(0.0)
    greeting = Welcome(origin_id="v1", next_origin_seq=hello.next_origin_seq, credit=credit, **fields)
    greeting.heartbeat_interval.FromSeconds(int(INTERVAL_S))
    session.receive(PublishResponse(welcome=greeting), 0.0)
    return hello


def sent(session: PublishSession[str], now_s: float = 0.0) -> list[tuple[int, str | None]]:
    """What goes out now."""
    action = session.next(now_s)
    return action.batch if isinstance(action, Send) else []


def ack(seq: int, shed: tuple[int, ...] = ()) -> PublishResponse:
    position = Position(partition=1, sequence=seq)
    return PublishResponse(ack=Ack(origin_seq=seq, positions=[position], shed_origin_seqs=shed))


def reject(seq: int, **fields: Any) -> PublishResponse:
    return PublishResponse(reject=Reject(origin_seq=seq, message="no", **({"code": 8} | fields)))


def test_nothing_is_sent_before_the_welcome() -> None:
    session = new_session()
    session.submit("a", 1)
    session.opened(0.0)
    assert isinstance(session.next(0.0), Wait)


def test_credit_that_shrinks_to_nothing_holds_back_and_grows_again() -> None:
    session = new_session()
    welcome(session, credit=2)
    for event in "abcd":
        session.submit(event, 1)
    assert sent(session) == [(1, "a"), (2, "b")]
    session.receive(PublishResponse(credit=Credit(credit=0, reason="the event log is full")), 1.0)
    assert isinstance(session.receive(ack(2), 1.0)[0], WasStored)
    assert sent(session, 1.0) == []
    assert (session.credit, session.reason, session.room) == (0, "the event log is full", 8)
    session.receive(PublishResponse(credit=Credit(credit=1)), 2.0)
    assert sent(session, 2.0) == [(3, "c")]


def test_an_event_has_no_number_before_it_is_sent() -> None:
    session = new_session()
    session.submit("measure", 1, Priority.MEASURE)
    session.submit("vote", 1)
    session.submit("reaction", 1, Priority.REACTION)
    assert session.give_way() == "measure"
    assert session.give_way() == "reaction"
    assert session.give_way() is None
    welcome(session)
    assert sent(session) == [(1, "vote")]


def test_a_stream_says_that_it_lives_and_takes_a_silent_server_for_gone() -> None:
    session = new_session()
    welcome(session)
    action = session.next(0.0)
    assert isinstance(action, Wait)
    assert 0 < action.until_s < INTERVAL_S
    assert session.next(action.until_s) is Due.HEARTBEAT
    again = session.next(action.until_s)
    assert isinstance(again, Wait)
    assert again.until_s < action.until_s + INTERVAL_S
    assert session.gone_at_s == 3 * INTERVAL_S
    session.receive(PublishResponse(heartbeat=Heartbeat()), 5.0)
    assert session.gone_at_s == 5.0 + 3 * INTERVAL_S
    assert "nothing was heard for 24.0 s" in session.silence(29.0)


def test_a_drain_is_followed_by_half_close_the_last_ack_and_the_delay_asked_for() -> None:
    session = new_session()
    welcome(session)
    session.submit("a", 1)
    assert sent(session) == [(1, "a")]
    session.submit("b", 1)
    drain = Drain()
    drain.reconnect_after.FromMilliseconds(700)
    session.receive(PublishResponse(drain=drain), 1.0)
    assert session.next(1.0) is Due.HALF_CLOSE
    assert session.next(1.0) == Wait(math.inf)
    assert [type(outcome) for outcome in session.receive(ack(1), 1.1)] == [WasStored]
    assert session.ended(0, "", 1.2) == Again(0.7)
    assert welcome(session) == Hello(origin_id="v1", next_origin_seq=2)
    assert sent(session) == [(2, "b")]


def test_an_expiring_token_is_renewed_before_the_stream_is_finished() -> None:
    session = new_session()
    welcome(session)
    session.receive(PublishResponse(token_expiring=TokenExpiring()), 1.0)
    assert session.next(1.0) is Due.RENEW
    session.renew_later(1.0)
    assert session.next(1.0) == Wait(1.0 + RENEW_AGAIN_S)
    session.submit("a", 1)
    assert sent(session, 1.5) == [(1, "a")], "a provider without a new token holds nothing up"
    assert session.next(1.0 + RENEW_AGAIN_S) is Due.RENEW
    session.renew_later(2.0)
    assert session.next(2.0) == Wait(2.0 + 2 * RENEW_AGAIN_S), "each time it waits longer"
    assert session.next(2.0 + 2 * RENEW_AGAIN_S) is Due.RENEW
    session.renewed()
    assert session.next(3.0) is Due.HALF_CLOSE
    assert session.ended(0, "", 3.1) == Again(0.0)


def test_a_refusal_for_now_is_tried_again_under_a_new_number() -> None:
    session = new_session()
    welcome(session)
    session.submit("a", 1)
    refused = 0
    now_s = 0.0
    while batch := sent(session, now_s):
        ((seq, event),) = batch
        assert event == "a"
        response = reject(seq, retryable=True)
        response.reject.retry_after.FromSeconds(2)
        outcomes = session.receive(response, now_s)
        session.receive(ack(seq), now_s)
        refused += 1
        assert sent(session, now_s + 1.9) == [], "not before the wait it named"
        now_s += 5.0
    assert refused == 1 + RETRIES_MAX
    assert outcomes == [WasRefused("a", 8, f"no (refused {1 + RETRIES_MAX} times)", False)]
    assert len(session) == 0


@pytest.mark.parametrize("ingest_knows", [True, False])
def test_i2_an_event_of_which_a_copy_may_be_stored_never_gets_a_new_number(ingest_knows: bool) -> None:
    session = new_session()
    welcome(session)
    session.submit("a", 1)
    assert sent(session) == [(1, "a")]
    if not ingest_knows:
        session.ended(UNAVAILABLE, "cut", 0.1)
        welcome(session)
        assert sent(session) == [(1, "a")]
    outcomes = session.receive(reject(1, retryable=True, maybe_stored=ingest_knows), 0.2)
    assert outcomes == [WasRefused("a", 8, "no", maybe_stored=True)]


def test_what_was_shed_is_told_from_what_is_stored() -> None:
    session = new_session()
    welcome(session)
    for event in "abc":
        session.submit(event, 1)
    sent(session)
    shed, stored = session.receive(ack(3, shed=(2,)), 0.1)
    assert shed == WasShed("b", maybe_stored=False)
    assert isinstance(stored, WasStored)
    assert stored.events == [(1, "a"), (3, "c")]


def test_an_event_larger_than_a_message_is_refused_here() -> None:
    session = new_session()
    with pytest.raises(ValueError, match="at most 261120 fit a message"):
        session.submit("a", 300_000)
    session.submit("b", 5_000)
    session.submit("c", 1_000)
    session.opened(0.0)
    small = Welcome(origin_id="v1", next_origin_seq=1, credit=64, message_bytes_max=4_096)
    outcomes = session.receive(PublishResponse(welcome=small), 0.0)
    assert outcomes == [WasRefused("b", 3, "the event has 5000 bytes; at most 3072 fit a message", False)]
    assert sent(session) == [(1, "c")]


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (PublishResponse(credit=Credit()), "welcome expected first"),
        (
            PublishResponse(welcome=Welcome(next_origin_seq=7)),
            "expects origin_seq 7 next, but 1 was announced",
        ),
    ],
)
def test_a_server_that_breaks_the_protocol_is_named(response: PublishResponse, complaint: str) -> None:
    session = new_session()
    session.opened(0.0)
    with pytest.raises(ValueError, match=complaint):
        session.receive(response, 0.0)


def test_a_second_welcome_breaks_the_protocol() -> None:
    session = new_session()
    welcome(session)
    with pytest.raises(ValueError, match="a second welcome"):
        session.receive(PublishResponse(welcome=Welcome(next_origin_seq=1)), 0.0)


def test_a_server_that_does_not_welcome_is_gone_after_the_first_bound() -> None:
    talk = StreamState(100.0, greeting_max_s=10.0)
    assert (talk.phase, talk.gone_at_s) == (Phase.GREETING, 110.0)
    assert talk.silence(110.0) == "no Welcome within 10.0 s"


def test_a_bad_token_is_asked_for_once_more_and_then_final() -> None:
    attempts = Attempts(Backoff(), lambda: 0.5)
    assert isinstance(attempts.ended(UNAUTHENTICATED, "expired", useful=False), Again)
    attempts.welcomed()
    assert isinstance(attempts.ended(UNAUTHENTICATED, "expired", useful=True), Again)
    over = attempts.ended(UNAUTHENTICATED, "expired", useful=False)
    assert over == Over(UNAUTHENTICATED, "expired; so again with a new token: give a token that is good")


def test_attempts_that_fail_wait_longer_and_a_useful_stream_starts_over() -> None:
    attempts = Attempts(Backoff(base_s=0.1, cap_s=2.0), lambda: 1.0)
    delays = [attempts.ended(UNAVAILABLE, "away", useful=False) for _ in range(7)]
    assert delays == [Again(s) for s in (0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)]
    assert attempts.ended(DEADLINE_EXCEEDED, "silent", useful=True) == Again(0.1)


@dataclass
class Event:
    """One event handed in, and what its sender was told: "stored", "shed", "refused", "maybe"."""

    name: int
    answers: list[str] = field(default_factory=list)
    seqs: set[int] = field(default_factory=set)


class Mesh(RuleBasedStateMachine):
    """A session against ingests of which each stream may break at any point, its answers with it.

    An ingest stores, sheds, refuses or refuses for now; the fold counts an identity once, as I2 says.
    """

    @initialize(seed=st.integers(0, 2**32), credit=st.integers(0, 6), buffer_events_max=st.integers(0, 6))
    def start(self, seed: int, credit: int, buffer_events_max: int) -> None:
        self.now_s = 0.0
        self.random = Random(seed)
        self.session: PublishSession[Event] = PublishSession(
            buffer_events_max=buffer_events_max, backoff=Backoff(), draw=self.random.random
        )
        self.credit = credit
        self.events: list[Event] = []
        self.origins = Origins(lambda: (b"first",), actor_max=10**6)
        self.counted: dict[tuple[str, int], Event] = {}
        self._open()

    def _open(self) -> None:
        hello = self.session.opened(self.now_s)
        self.server = IngestSession()
        identity = Identity("ann", False, None, 1e12)
        greeting = self.server.hello(
            *(hello, identity, self.origins),
            now_s=self.now_s,
            at_s=self.now_s,
            entropy=self.random.randbytes(ENTROPY_BYTES),
        )
        greeting.credit = self.credit
        self.wire: list[tuple[int, Event | None]] = []
        self.taken: list[tuple[int, Event | None, str]] = []
        self.answers: list[PublishResponse] = [PublishResponse(welcome=greeting)]
        self.closed = False

    @precondition(lambda self: self.session.room > 0)
    @rule(ranks=st.lists(st.sampled_from(Priority), min_size=1, max_size=3))
    def hand_in(self, ranks: list[Priority]) -> None:
        for rank in ranks[: self.session.room]:
            event = Event(len(self.events))
            self.events.append(event)
            self.session.submit(event, 1, rank)

    @rule()
    def an_event_gives_way(self) -> None:
        event = self.session.give_way()
        if event is not None:
            assert not event.seqs, "only what was never sent gives way"
            event.answers.append("dropped")

    @rule(credit=st.integers(0, 6))
    def credit_changes(self, credit: int) -> None:
        self.credit = credit
        self.answers.append(PublishResponse(credit=Credit(credit=credit)))

    @rule(after_s=st.sampled_from([0.1, 3.0, 30.0]))
    def time_passes(self, after_s: float) -> None:
        self.now_s += after_s

    @precondition(lambda self: not self.closed)
    @rule()
    def client_acts(self) -> None:
        frontier = self.session._outbox.frontier
        action = self.session.next(self.now_s)
        if isinstance(action, Send):
            assert action.batch[-1][0] < frontier + self.session.credit, "the credit is obeyed"
            self.wire.extend(action.batch)
            for seq, event in action.batch:
                if event is not None:
                    event.seqs.add(seq)
        elif action is Due.HALF_CLOSE:
            self.closed = True
        elif action is Due.RENEW:
            if self.random.random() < 0.5:
                self.session.renewed()
            else:
                self.session.renew_later(self.now_s)

    @precondition(lambda self: self.wire)
    @rule(verdicts=st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=4))
    def ingest_reads(self, verdicts: list[str]) -> None:
        for verdict in verdicts[: len(self.wire)]:
            self._read_one(verdict)

    def _read_one(self, verdict: str) -> None:
        seq, event = self.wire.pop(0)
        server = self.server
        server.check_batch(1)
        if seq != server.next_seq or seq > server.last_allowed:
            server.check_next(seq)
        server.advance(seq + 1)
        self.taken.append((seq, event, verdict if event is not None else "refuse"))
        if self.random.random() < 0.6:
            self._settle_one()

    def _settle_one(self) -> None:
        """Blocks are stored in any order."""
        server = self.server
        seq, event, verdict = self.taken.pop(self.random.randrange(len(self.taken)))
        if verdict == "store" or (verdict == "maybe" and self.random.random() < 0.5):
            assert event is not None
            identity = (server.origin_id, seq)
            assert self.counted.setdefault(identity, event) is event, "an identity names one event"
        if verdict in ("refuse", "retry", "maybe"):
            refusal = Reject(
                origin_seq=seq,
                code=8,
                message="no",
                retryable=verdict == "retry" or self.random.random() < 0.5,
                maybe_stored=verdict == "maybe",
            )
            if verdict == "refuse":
                refusal.retryable = False
            self.answers.append(PublishResponse(reject=refusal))
        position = Position(partition=1, sequence=seq) if verdict == "store" else None
        server.settled(seq, seq, position, shed=verdict == "shed")
        told = server.take_ack()
        if told is not None:
            self.answers.append(PublishResponse.FromString(told))

    @precondition(lambda self: self.taken)
    @rule()
    def ingest_settles(self) -> None:
        self._settle_one()

    @precondition(lambda self: self.answers)
    @rule(count=st.integers(1, 4))
    def answers_arrive(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.answers))):
            self._hear_one()

    def _hear_one(self) -> None:
        for outcome in self.session.receive(self.answers.pop(0), self.now_s):
            match outcome:
                case WasStored(events, _):
                    for seq, event in events:
                        event.answers.append("stored")
                        identity = (self.session.origin_id, seq)
                        assert self.counted.get(identity) is event, "I1: acked means durable"
                case WasShed(event, maybe):
                    event.answers.append("maybe" if maybe else "shed")
                case WasRefused(event, _, _, maybe):
                    event.answers.append("maybe" if maybe else "refused")

    @precondition(lambda self: not self.closed)
    @rule(what=st.sampled_from(["drain", "token"]))
    def ingest_asks(self, what: str) -> None:
        if what == "token":
            self.answers.append(PublishResponse(token_expiring=TokenExpiring()))
        elif self.server.state.value == "open":
            self.server.step(Input.DRAIN)
            self.answers.append(PublishResponse(drain=Drain()))

    @rule()
    def the_key_is_gone(self) -> None:
        """The next stream's server replaces the origin."""
        key = self.random.randbytes(32)
        self.origins = Origins(lambda: (key,), actor_max=10**6)

    @rule()
    def stream_breaks(self) -> None:
        then = self.session.ended(UNAVAILABLE, "cut", self.now_s)
        assert isinstance(then, Again)
        self.now_s += then.delay_s
        self._open()

    @rule(heard=st.integers(0, 2))
    def stream_breaks_on_the_way_back(self, heard: int) -> None:
        """All that was sent was read, of the answers the first few arrived; then the next stream stands."""
        while self.wire:
            self._read_one(self.random.choice(VERDICTS))
        for _ in range(min(heard, len(self.answers))):
            self._hear_one()
        self.stream_breaks()
        self._hear_one()
        self.client_acts()

    @precondition(lambda self: self.closed and not (self.wire or self.taken or self.answers))
    @rule()
    def stream_ends_in_order(self) -> None:
        self.server.step(Input.HALF_CLOSE)
        assert isinstance(self.session.ended(0, "", self.now_s), Again)
        self._open()

    @invariant()
    def every_answer_is_the_only_one_and_true(self) -> None:
        for event in getattr(self, "events", ()):
            copies = sum(counted is event for counted in self.counted.values())
            assert copies <= 1, "I2: counted once, under whatever numbers it went"
            assert len(event.answers) <= 1
            if event.answers and event.answers[0] in ("shed", "refused", "dropped"):
                assert copies == 0

    def teardown(self) -> None:
        """Once everything works again, every event is answered."""
        if not hasattr(self, "session"):
            return
        self.credit = 6
        self.stream_breaks()
        for _ in range(1_000):
            if not len(self.session):
                break
            self.now_s += 30.0
            if self.closed:
                self.stream_ends_in_order()
            self.client_acts()
            while self.wire:
                self._read_one("store")
            while self.taken:
                self._settle_one()
            while self.answers:
                self._hear_one()
        assert len(self.session) == 0
        assert all(len(event.answers) == 1 for event in self.events)


TestMesh = Mesh.TestCase
TestMesh.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
