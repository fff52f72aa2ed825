"""I1 and I2 in the session's core: what may be sent, and what an ack may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, Welcome
from ingest.session import Session
from mesh import limits
from mesh.errors import Exhausted, Invalid
from tests.blocks import NOW_S, origin


def opened(**hello: object) -> tuple[Session, Welcome]:
    session = Session()
    greeting = Hello(**({"actor_id": "ann"} | hello))
    return session, session.hello(greeting, now_s=NOW_S, entropy=bytes(12))


def batch(*numbers: int, origin_id: str = "") -> PublishRequest:
    events = [Event(origin_seq=n, origin_id=origin_id) for n in numbers]
    return PublishRequest(events=EventBatch(events=events))


def at(sequence: int, partition: int = 0) -> Position:
    return Position(partition=partition, sequence=sequence)


def test_a_new_session_is_issued_an_origin_and_told_its_limits() -> None:
    _, welcome = opened()
    assert welcome.origin_id == origin(0)
    assert (welcome.next_origin_seq, welcome.credit) == (1, limits.VIEWER_CREDIT)
    assert welcome.batch_events_max == limits.BATCH_EVENTS_MAX


def test_a_resumed_session_goes_on_at_its_number() -> None:
    session, welcome = opened(origin_id=origin(3), next_origin_seq=7)
    assert (welcome.origin_id, welcome.next_origin_seq) == (origin(3), 7)
    session.events(batch(7, 8))


def test_events_before_hello_are_refused() -> None:
    with pytest.raises(Invalid, match="hello expected"):
        Session().events(batch(1))


def test_a_second_hello_is_refused() -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match="second Hello"):
        session.hello(Hello(actor_id="ann"), now_s=NOW_S, entropy=bytes(12))


def test_an_empty_request_is_refused() -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match="events expected, got nothing"):
        session.events(PublishRequest())


@pytest.mark.parametrize("count", [0, limits.BATCH_EVENTS_MAX + 1])
def test_a_batch_outside_its_bounds_is_refused(count: int) -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match=f"a batch of {count}; 1 to {limits.BATCH_EVENTS_MAX}"):
        session.events(batch(*range(1, count + 1)))


@pytest.mark.parametrize("numbers", [(2,), (1, 1), (1, 3), (0,)])
def test_numbers_that_jump_or_go_back_are_refused_and_nothing_is_taken(numbers: tuple[int, ...]) -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match="expected"):
        session.events(batch(*numbers))
    session.events(batch(1, 2))


def test_the_credit_bounds_the_span_of_unacked_numbers() -> None:
    session, welcome = opened()
    session.events(batch(*range(1, welcome.credit + 1)))
    with pytest.raises(Exhausted, match="wait for acks"):
        session.events(batch(welcome.credit + 1))
    session.durable("", 1, at(5))
    session.events(batch(welcome.credit + 1))


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({"actor_id": ""}, "hello.actor_id: is empty"),
        ({"actor_id": "x" * 65}, "65 characters; at most 64"),
        ({"origin_id": "mine"}, "'mine' is not an origin id"),
        ({"origin_id": origin(1, producer=True)}, "does not fit origin"),
        ({"next_origin_seq": 9}, "a new origin starts at 1"),
        ({"client": "c" * 65}, "hello.client"),
    ],
)
def test_a_bad_hello_is_refused_with_its_field(hello: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        opened(**hello)


def test_an_origin_too_old_is_refused() -> None:
    with pytest.raises(Invalid, match="h old; an origin lives 24 h"):
        Session().hello(
            Hello(actor_id="ann", origin_id=origin(1)),
            now_s=NOW_S + limits.ORIGIN_AGE_MAX_S + 60,
            entropy=bytes(12),
        )


def test_only_a_producer_relays() -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match="only a producer"):
        session.events(batch(1, origin_id=origin(9)))


def test_relayed_events_get_receipts_and_do_not_take_the_streams_numbers() -> None:
    session, _ = opened(actor_id="", producer=True)
    session.events(batch(41, 7, origin_id=origin(9)))
    assert session.unsettled == 2
    session.durable(origin(9), 41, at(3))
    ack = session.take_ack()
    assert ack is not None
    assert (ack.origin_seq, [(r.origin_id, r.origin_seq, r.position.sequence) for r in ack.receipts]) == (
        0,
        [(origin(9), 41, 3)],
    )
    session.events(batch(1))


def test_an_ack_waits_for_the_gap_before_it() -> None:
    session, _ = opened()
    session.events(batch(1, 2, 3))
    session.durable("", 3, at(10, partition=2))
    assert session.take_ack() is None
    session.refused("", 1)
    session.durable("", 2, at(12))
    ack = session.take_ack()
    assert ack is not None
    assert ack.origin_seq == 3
    assert list(ack.positions) == [at(12), at(10, partition=2)]
    assert session.take_ack() is None
    assert session.unsettled == 0


@given(st.data())
def test_an_ack_never_covers_what_is_not_settled_and_in_the_end_covers_all(data: st.DataObject) -> None:
    session, welcome = opened()
    sent, pending, settled = 0, list[int](), set[int]()
    acked = 0
    for _ in range(data.draw(st.integers(1, 80))):
        if data.draw(st.booleans()) and sent - acked < welcome.credit:
            sent += 1
            session.events(batch(sent))
            pending.append(sent)
        elif pending:
            number = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
            settled.add(number)
            if data.draw(st.booleans()):
                session.durable("", number, at(number))
            else:
                session.refused("", number)
        ack = session.take_ack()
        if ack is not None:
            assert ack.origin_seq >= acked
            acked = ack.origin_seq
        assert set(range(1, acked + 1)) <= settled
        assert session.unsettled == len(pending)
    for number in pending:
        session.durable("", number, at(number))
    ack = session.take_ack()
    assert (ack.origin_seq if ack else acked) == sent
