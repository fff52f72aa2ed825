"""I1 and I2 in the session's core: what may come next, and what an ack may say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, Welcome
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, Forbidden, GrandstandError, Invalid, NotNow, OriginRefused
from ingest import session as session_module
from ingest.session import SEQ_MAX, TABLE, IngestSession, Input, SessionState
from mesh.auth import Identity
from tests.support.blocks import NOW_S, origin, origins_of_tests
from tests.support.intake import Listener, bearer, taken_ack
from toolbox.local.provision import checkout


def opened(**hello: object) -> tuple[IngestSession, Welcome]:
    listener = Listener()
    welcome = listener.open(**hello)
    return listener.session, welcome


def taken(session: IngestSession, count: int) -> None:
    """As intake does: each number checked, then taken."""
    for _ in range(count):
        session.check_next(session.next_seq)
        session.advance(session.next_seq + 1)


def at(sequence: int, partition: int = 0) -> Position:
    return Position(partition=partition, sequence=sequence)


def test_a_new_session_is_issued_an_origin_and_told_its_limits() -> None:
    _, welcome = opened()
    assert welcome.origin_id == origin(0)
    assert (welcome.next_origin_seq, welcome.credit, welcome.credit_max) == (1, 64, wire_bounds.VIEWER_CREDIT)
    assert welcome.batch_events_max == wire_bounds.BATCH_EVENTS_MAX
    assert welcome.heartbeat_interval.ToSeconds() == wire_bounds.PUBLISH_HEARTBEAT_S


def test_a_resumed_session_goes_on_at_its_number() -> None:
    session, welcome = opened(origin_id=origin(3), next_origin_seq=7)
    assert (welcome.origin_id, welcome.next_origin_seq) == (origin(3), 7)
    assert (session.next_seq, session.unacked) == (7, 0)


STEPS_TO = {
    SessionState.NEW: (),
    SessionState.OPEN: (Input.HELLO,),
    SessionState.DRAINING: (Input.HELLO, Input.DRAIN),
    SessionState.CLOSING: (Input.HALF_CLOSE,),
}


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("given_", Input)
def test_what_the_table_does_not_list_is_refused_and_what_was_expected_is_said(
    state: SessionState, given_: Input
) -> None:
    session = IngestSession()
    for step in STEPS_TO[state]:
        session.step(step)
    then = TABLE.get((state, given_))
    if then is None:
        with pytest.raises(Invalid, match=f"expected.*got {given_.value}"):
            session.step(given_)
        assert session.state is state
    else:
        session.step(given_)
        assert session.state is then


def test_the_tables_that_people_read_are_the_table() -> None:
    """The module's own, and the proto's for what a client may send."""
    rows = {(before.value, given.value): then.value for (before, given), then in TABLE.items()}
    text = session_module.__doc__ or ""
    found = re.findall(
        r"^    (NEW|OPEN|DRAINING)\s+(hello|events|heartbeat|drain|half-close)\s+(\w+)", text, re.MULTILINE
    )
    assert {(before.lower(), given): then.lower() for before, given, then in found} == rows
    proto = Path(checkout() / "protos/grandstand/ingest/v1/ingest.proto").read_text()
    said: dict[tuple[str, str], str] = {}
    for before, inputs, then in re.findall(r"//   (NEW|OPEN|DRAINING) +([a-z, -]+?) +([A-Z]+)\b", proto):
        said |= {(before.lower(), given.strip()): then.lower() for given in inputs.split(",")}
    assert said == {key: then for key, then in rows.items() if key[1] != "drain"}


def test_a_second_hello_is_refused() -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match="a second hello"):
        session.hello(
            *(Hello(actor_id="ann"), bearer(), origins_of_tests()), now_s=NOW_S, at_s=0.0, entropy=bytes(5)
        )


@pytest.mark.parametrize("count", [0, wire_bounds.BATCH_EVENTS_MAX + 1])
def test_a_batch_outside_its_bounds_is_refused(count: int) -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match=f"a batch of {count}; 1 to {wire_bounds.BATCH_EVENTS_MAX}"):
        session.check_batch(count)


@pytest.mark.parametrize("number", [0, 2, 2**63, 2**64 - 1])
def test_a_number_that_jumps_or_goes_back_is_refused(number: int) -> None:
    session, _ = opened()
    with pytest.raises(Invalid, match=f"{number} after 0; 1 expected"):
        session.check_next(number)


def test_an_origin_whose_numbers_are_used_up_takes_no_more() -> None:
    session, _ = opened(origin_id=origin(3), next_origin_seq=SEQ_MAX)
    taken(session, 1)
    with pytest.raises(NotNow, match="used up; open a new origin"):
        session.check_next(SEQ_MAX + 1)
    with pytest.raises(Invalid, match="at most 2\\^63-1"):
        opened(origin_id=origin(3), next_origin_seq=SEQ_MAX + 1)


def test_the_credit_bounds_the_span_of_unacked_numbers() -> None:
    session, welcome = opened()
    taken(session, welcome.credit_max)
    assert session.last_allowed == welcome.credit_max
    with pytest.raises(Exhausted, match="wait for acks"):
        taken(session, 1)
    session.settled(1, 1, at(5))
    assert session.last_allowed == welcome.credit_max + 1
    taken(session, 1)


@pytest.mark.parametrize(
    ("hello", "error", "message"),
    [
        ({"actor_id": "x" * 129}, Invalid, "129 bytes of UTF-8; at most 128"),
        ({"actor_id": "a\x85b"}, Invalid, "has the character"),
        ({"actor_id": "bob"}, Forbidden, "'bob' is not the token's actor 'ann'"),
        ({"next_origin_seq": 9}, Invalid, "a new origin starts at 1"),
        ({"client": "c" * 65}, Invalid, "hello.client"),
        ({"producer": True, "identity": bearer()}, Forbidden, "the token has not the role producer"),
        ({"actor_id": "", "identity": bearer("", producer=True)}, Invalid, "hello.actor_id: is empty"),
    ],
)
def test_a_bad_hello_is_refused_with_its_field(
    hello: dict[str, object], error: type[GrandstandError], message: str
) -> None:
    with pytest.raises(error, match=message):
        opened(**hello)


def test_who_names_nobody_is_the_tokens_actor() -> None:
    assert opened(actor_id="")[0].actor_id == "ann"
    assert opened(actor_id="", producer=True)[0].actor_id == ""
    assert opened(actor_id="eve", producer=True)[0].actor_id == "eve"


DAY_S = wire_bounds.ORIGIN_AGE_MAX_S


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("mine", "'mine' is not an origin id"),
        (origin(1, producer=True), "is a producer's"),
        (origin(1, owner="eve"), "was not issued to 'ann' here"),
        (ids.new_origin(producer=False, now_s=NOW_S, entropy=bytes(12)), "was not issued to 'ann' here"),
        (origin(1, now_s=NOW_S - DAY_S - 60), "24.0 h old; an origin lives 24 h"),
        (origin(1, now_s=NOW_S + 600), "issued 600 s in the future"),
    ],
)
def test_an_origin_that_is_not_taken_is_replaced_and_why_is_said(named: str, why: str) -> None:
    """I2: never a lost client, and never another's window."""
    session, welcome = opened(origin_id=named, next_origin_seq=9)
    assert why in welcome.replaced
    assert welcome.origin_id == session.origin_id == origin(0)
    assert (welcome.next_origin_seq, session.next_seq, session.acked) == (1, 1, 0)
    assert not opened(origin_id=welcome.origin_id)[1].replaced


def test_a_producer_that_is_nobody_gets_no_origin() -> None:
    nobody = Identity("", True, None, NOW_S + 3600)
    for named in ("", origin(1, producer=True)):
        with pytest.raises(Forbidden, match="has no sub, and an origin belongs to one"):
            opened(producer=True, identity=nobody, origin_id=named)


def test_a_producer_relays_for_origins_of_its_own_alone() -> None:
    """With another's it could number what that one sends elsewhere."""
    session, _ = opened(producer=True, identity=bearer("server", producer=True))
    session.check_relayed(origin(2, owner="server"))
    for foreign in (origin(3, owner="eve"), ids.new_origin(producer=False, now_s=NOW_S, entropy=bytes(12))):
        with pytest.raises(OriginRefused, match="was not issued to the producer 'server' here"):
            session.check_relayed(foreign)
    gateway, _ = opened(producer=True, identity=bearer("", producer=True))
    gateway.check_relayed(origin(3, owner="eve"))  # it has checked the sender's own


def test_relayed_events_get_receipts_and_do_not_take_the_streams_numbers() -> None:
    session, _ = opened(actor_id="", producer=True)
    session.relayed_taken()
    session.relayed_taken()
    assert session.unsettled == 2
    session.relayed_stored(origin(9), 41, at(3))
    session.relayed_refused()
    ack = taken_ack(session)
    assert ack is not None
    assert (ack.origin_seq, [(r.origin_id, r.origin_seq, r.position.sequence) for r in ack.receipts]) == (
        0,
        [(origin(9), 41, 3)],
    )
    assert session.unsettled == 0
    assert session.next_seq == 1


def test_an_ack_waits_for_the_gap_before_it() -> None:
    session, _ = opened()
    taken(session, 4)
    session.settled(3, 4, at(10, partition=2))
    assert taken_ack(session) is None
    session.settled(1, 1, None)
    session.settled(2, 2, at(12))
    ack = taken_ack(session)
    assert ack is not None
    assert ack.origin_seq == 4
    assert list(ack.positions) == [at(12), at(10, partition=2)]
    assert taken_ack(session) is None
    assert session.unsettled == 0


def test_an_ack_names_what_it_adds_that_was_shed_and_counts_all() -> None:
    session, _ = opened()
    taken(session, 5)
    session.settled(3, 3, None, shed=True)
    assert taken_ack(session) is None, "what is shed waits for what came before it, too"
    session.settled(1, 2, at(7))
    ack = taken_ack(session)
    assert ack is not None
    assert (ack.origin_seq, list(ack.shed_origin_seqs), ack.shed) == (3, [3], 1)
    session.settled(4, 4, None)
    session.settled(5, 5, None, shed=True)
    ack = taken_ack(session)
    assert ack is not None
    assert (ack.origin_seq, list(ack.shed_origin_seqs), ack.shed) == (5, [5], 2)


@given(st.data())
def test_an_ack_never_covers_what_is_not_settled_and_in_the_end_covers_all(data: st.DataObject) -> None:
    session, welcome = opened()
    sent, pending, settled, shed = 0, list[tuple[int, int]](), set[int](), set[int]()
    acked, told_shed = 0, set[int]()
    for _ in range(data.draw(st.integers(1, 80))):
        room = welcome.credit_max - (sent - acked)
        if data.draw(st.booleans()) and room:
            count = data.draw(st.integers(1, room))
            taken(session, count)
            pending.append((sent + 1, sent + count))
            sent += count
        elif pending:
            first, last = pending.pop(data.draw(st.integers(0, len(pending) - 1)))
            settled |= set(range(first, last + 1))
            match data.draw(st.sampled_from(("stored", "refused", "shed"))):
                case "stored":
                    session.settled(first, last, at(last))
                case "refused":
                    session.settled(first, last, None)
                case "shed":
                    shed |= set(range(first, last + 1))
                    session.settled(first, last, None, shed=True)
        ack = taken_ack(session)
        if ack is not None:
            assert ack.origin_seq >= acked
            acked = ack.origin_seq
            told_shed |= set(ack.shed_origin_seqs)
        assert set(range(1, acked + 1)) <= settled
        assert told_shed == {number for number in shed if number <= acked}
        assert session.unsettled == sum(last - first + 1 for first, last in pending)
    for first, last in pending:
        session.settled(first, last, at(last))
    ack = taken_ack(session)
    assert (ack.origin_seq if ack else acked) == sent
