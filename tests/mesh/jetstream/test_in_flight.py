"""I1, I2, I7, I9 in the publish pipeline's core: whatever comes in whatever order, each publish ends once."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from grandstand.wire.errors import GrandstandError
from mesh.jetstream.in_flight import PROBE_S, InFlight, Publish

COUNT_MAX, BYTES_MAX, WAITING_MAX, WAITING_BYTES_MAX = 4, 100, 6, 200
ATTEMPT_S, AGAIN_S = 1.0, 0.05


def core() -> InFlight:
    return InFlight(COUNT_MAX, BYTES_MAX, WAITING_MAX, WAITING_BYTES_MAX, ATTEMPT_S, AGAIN_S)


def publish(number: int, size: int = 10, deadline_at: float = 5.0) -> Publish:
    def on_done(sequence: int | None, error: GrandstandError | None) -> None: ...

    return Publish(number, "events.1", bytes(size), f"m{number}", None, deadline_at, on_done)


class PublishesInFlight(RuleBasedStateMachine):
    """The log, the network and the clock do what they like; the shell only obeys the core."""

    numbers: Bundle[int] = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.core = core()
        self.now_s = 0.0
        self.taken: list[Publish] = []
        self.sent: list[int] = []
        self.ended: list[int] = []
        self.refused_at_the_door = 0

    def end(self, *ended: Publish | None) -> None:
        for each in ended:
            if each is not None:
                assert each.is_settled
                self.ended.append(each.number)

    @initialize(connected=st.booleans())
    def begin(self, connected: bool) -> None:
        if connected:
            self.core.connected(self.now_s)

    @rule(target=numbers, size=st.integers(0, 60), life_s=st.floats(0.0, 8.0))
    def submit(self, size: int, life_s: float) -> int:
        number = len(self.taken) + self.refused_at_the_door
        given = publish(number, size, self.now_s + life_s)
        full = self.core.waiting == WAITING_MAX or self.core.waiting_bytes + size > WAITING_BYTES_MAX
        assert self.core.submit(given, self.now_s) is not full
        if full:
            self.refused_at_the_door += 1
        else:
            self.taken.append(given)
        return number

    @rule()
    def send(self) -> None:
        self.end(*self.core.expire(self.now_s))
        sends = self.core.take(self.now_s)
        assert self.core.is_connected or not sends
        for each in sends:
            assert not each.is_settled
            assert each.deadline_at > self.now_s
            if each.number not in self.sent:
                assert not self.sent or each.number > max(self.sent)
                self.sent.append(each.number)
        assert not self.core.is_ready(self.now_s)

    @rule(number=numbers)
    def hear_an_ack(self, number: int) -> None:
        ended = self.core.stored(number, self.now_s)
        if ended is not None:
            assert number in self.sent
            assert self.now_s <= ended.deadline_at
        self.end(ended)

    @rule(number=consumes(numbers))
    def hear_a_refusal(self, number: int) -> None:
        self.end(self.core.refused(number, self.now_s))

    @rule(number=numbers)
    def hear_that_it_shall_be_repeated(self, number: int) -> None:
        self.core.again(number, self.now_s)

    @rule()
    def find_the_connection_unwilling(self) -> None:
        self.end(*self.core.expire(self.now_s))
        self.core.put_off(self.now_s)
        assert self.core.due_at() > self.now_s  # nobody comes back again and again meanwhile

    @rule(by_s=st.floats(0.0, 2.0))
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @rule()
    def wait_until_something_is_due(self) -> None:
        if math.isfinite(due_at := self.core.due_at()):
            self.now_s = max(self.now_s, due_at)

    @rule()
    def lose_the_connection(self) -> None:
        self.core.disconnected()
        assert self.core.away

    @rule()
    def connect(self) -> None:
        was_away = self.core.away
        self.core.connected(self.now_s)
        assert self.core.away is was_away

    @rule()
    def probe(self) -> None:
        if self.core.take_probe(self.now_s):
            assert self.core.away
            assert not self.core.take_probe(self.now_s)
            self.core.answered(self.now_s)

    @invariant()
    def a_log_without_a_connection_is_away(self) -> None:
        assert self.core.is_connected or self.core.away

    @invariant()
    def bounds_hold(self) -> None:
        assert self.core.in_flight <= COUNT_MAX
        assert self.core.in_flight_bytes <= BYTES_MAX
        assert self.core.waiting <= WAITING_MAX
        assert self.core.waiting_bytes <= WAITING_BYTES_MAX

    @invariant()
    def each_ends_at_most_once_and_is_counted_until_then(self) -> None:
        assert len(set(self.ended)) == len(self.ended)
        left = [each for each in self.taken if each.number not in self.ended]
        assert self.core.in_flight + self.core.waiting == len(left)
        assert self.core.in_flight_bytes + self.core.waiting_bytes == sum(len(e.payload) for e in left)
        oldest_at = min((each.submitted_at for each in left), default=self.now_s)
        assert self.core.oldest_age_s(self.now_s) == self.now_s - oldest_at

    @invariant()
    def nothing_is_forgotten(self) -> None:
        left = [each.deadline_at for each in self.taken if each.number not in self.ended]
        assert self.core.due_at() <= min(left, default=math.inf)

    def teardown(self) -> None:
        """From wherever it stands: coming back when due, and no oftener, ends them all by their deadlines."""
        looked = 0
        while self.core.in_flight or self.core.waiting:
            self.now_s = max(self.now_s, self.core.due_at())
            self.end(*self.core.expire(self.now_s))
            self.core.take_probe(self.now_s)
            self.core.take(self.now_s)
            assert self.core.due_at() > self.now_s
            looked += 1
            assert looked < 200
        self.end(*self.core.close())
        assert sorted(self.ended) == [each.number for each in self.taken]


PublishesInFlight.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPublishesInFlight = PublishesInFlight.TestCase


def sent(found: InFlight, now_s: float) -> list[int]:
    assert not found.expire(now_s)
    return [each.number for each in found.take(now_s)]


def connected() -> InFlight:
    """With an event log that answers."""
    found = core()
    found.connected(0.0)
    found.answered(0.0)
    assert not found.away
    return found


def test_an_attempt_without_an_ack_is_repeated_and_means_that_the_log_is_away() -> None:
    found = connected()
    found.submit(publish(1), 0.0)
    assert sent(found, 0.0) == [1]
    assert found.due_at() == ATTEMPT_S
    assert not found.away
    assert sent(found, ATTEMPT_S) == [1]
    assert found.away
    assert found.stored(1, 1.5) is not None
    assert not found.away
    looked = 0
    while (due_at := found.due_at()) < math.inf:  # for what was due of it, and is no more
        assert sent(found, due_at) == []
        looked += 1
    assert looked <= 2


def test_acks_of_others_keep_the_log_here() -> None:
    found = connected()
    for number, at_s in enumerate((0.0, 0.6, 1.2)):
        found.submit(publish(number), at_s)
        assert number in sent(found, at_s)
        assert not found.away
        if number:
            found.stored(number, at_s + 0.1)
    assert found.oldest_age_s(1.5) == 1.5


def test_after_a_reconnect_what_flew_is_sent_again_first_and_in_order() -> None:
    found = connected()
    for number in range(COUNT_MAX + 1):
        found.submit(publish(number), 0.0)
    assert sent(found, 0.0) == [0, 1, 2, 3]
    found.stored(1, 0.1)
    found.disconnected()
    assert found.away
    assert sent(found, 0.2) == []
    found.connected(0.3)
    assert sent(found, 0.3) == [0, 2, 3, 4]
    assert found.away  # a connection is no answer
    found.stored(4, 0.4)
    assert not found.away


def test_a_log_that_asks_to_repeat_is_not_asked_in_a_hurry() -> None:
    found = connected()
    found.submit(publish(1), 0.0)
    assert sent(found, 0.0) == [1]
    found.again(1, 0.01)
    assert sent(found, 0.02) == []
    assert found.due_at() == 0.01 + AGAIN_S
    assert sent(found, 0.01 + AGAIN_S) == [1]


def test_a_log_that_is_away_is_probed_and_its_answer_hurries_what_flies_once() -> None:
    found = connected()
    found.submit(publish(1), 0.0)
    assert sent(found, 0.0) == [1]
    assert sent(found, 1.0) == [1]
    assert found.take_probe(1.0)
    assert not found.take_probe(1.0 + PROBE_S / 2)
    found.answered(1.1)
    assert found.away  # only an ack says that it stores again
    assert sent(found, 1.1) == [1]
    found.answered(1.3)
    assert sent(found, 1.3) == []
    assert [each.number for each in found.expire(5.0)] == [1]
    assert found.away
    assert found.take_probe(5.0)
    found.answered(5.1)
    assert not found.away  # with nothing in flight there is no ack to wait for


def test_i9_an_ack_after_the_deadline_settles_nothing() -> None:
    found = connected()
    found.submit(publish(1, deadline_at=2.0), 0.0)
    assert sent(found, 0.0) == [1]
    assert found.stored(1, 2.001) is None
    assert [each.number for each in found.expire(2.001)] == [1]
    assert found.stored(1, 2.002) is None


def test_latency_is_that_of_publishes_sent_once() -> None:
    found = connected()
    for number in range(40):
        found.submit(publish(number, deadline_at=100.0), 2.0 * number)
        sent(found, 2.0 * number)
        if number % 4 == 3:
            sent(found, 2.0 * number + ATTEMPT_S)
            found.stored(number, 2.0 * number + 1.5)
        else:
            found.stored(number, 2.0 * number + 0.25)
    assert 0.24 < found.ack_latency_s <= 0.25


def test_i7_bytes_bound_what_flies_and_what_waits() -> None:
    found = connected()
    accepted = [found.submit(publish(number, 60), 0.0) for number in range(5)]
    assert accepted == [True, True, True, False, False]
    assert sent(found, 0.0) == [0]
    assert (found.in_flight, found.in_flight_bytes, found.waiting, found.waiting_bytes) == (1, 60, 2, 120)
    found.stored(0, 0.1)
    assert sent(found, 0.1) == [1]
