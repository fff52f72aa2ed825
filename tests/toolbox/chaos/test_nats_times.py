"""The times of a NATS server are shifted by what its clock was off at that time; all other bytes pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolbox.chaos.nats_times import ClockShifts, NatsTimes

S = 10**9
AT_NS = 1_700_000_000 * S + 123_456_789
"""2023-11-14T22:13:20.123456789Z"""
API = '{"type":"io.nats.jetstream.api.v1.stream_info_response",'


def shifts(*changes: tuple[int, int]) -> ClockShifts:
    found = ClockShifts()
    for from_ns, shift_ns in changes:
        found.set(from_ns, shift_ns)
    return found


def msg(subject: str, payload: str, reply: str = "") -> bytes:
    return f"MSG {subject} 7{f' {reply}' if reply else ''} {len(payload)}\r\n{payload}\r\n".encode()


def hmsg(subject: str, headers: str, payload: str, reply: str = "") -> bytes:
    sizes = f"{len(headers)} {len(headers) + len(payload)}"
    return f"HMSG {subject} 7{f' {reply}' if reply else ''} {sizes}\r\n{headers}{payload}\r\n".encode()


def sent(data: bytes, shift_s: float, from_ns: int = 0) -> bytes:
    return NatsTimes(shifts((from_ns, round(shift_s * S)))).feed(data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("$JS.ACK.EVENTS.c.1.5.6.{}.0", AT_NS + 30 * S),
        ("$JS.ACK._.hash.EVENTS.c.1.5.6.{}.0.random", AT_NS + 30 * S),
        ("$JS.ACK._.hash.EVENTS.c.1.5.6.{}.0", AT_NS + 30 * S),
        ("$JS.ACK.{}", AT_NS),
        ("_INBOX.a.1.5.6.7.8.{}.0", AT_NS),
    ],
)
def test_the_time_in_the_reply_of_a_consumers_message_is_shifted(before: str, after: int) -> None:
    got = sent(msg("events.3", "x", before.format(AT_NS)), 30)
    assert got == msg("events.3", "x", before.format(after))


@pytest.mark.parametrize(
    ("before", "shift_s", "after"),
    [
        ("2023-11-14T22:13:20.123456789Z", 30, "2023-11-14T22:13:50.123456789Z"),
        ("2023-11-14T22:13:20.5Z", -0.5, "2023-11-14T22:13:20Z"),
        ("2023-11-14T22:13:20Z", 0.25, "2023-11-14T22:13:20.25Z"),
        ("2023-12-31T23:59:59.9Z", 0.1, "2024-01-01T00:00:00Z"),
        ("2023-11-14T22:13:20+01:00", 60, "2023-11-14T22:14:20+01:00"),
        ("0001-01-01T00:00:00Z", 30, "0001-01-01T00:00:00Z"),
    ],
)
def test_the_times_of_jetstreams_answers_and_direct_gets_are_shifted(
    before: str, shift_s: float, after: str
) -> None:
    def answer(at: str, in_text: str) -> bytes:
        return msg("_INBOX.1", f'{API}"created":"{at}","ts":"{at}","config":{{"name":"at {in_text}"}}}}')

    def direct(at: str, in_text: str) -> bytes:
        headers = f"NATS/1.0\r\nNats-Stream: S\r\nNats-Time-Stamp: {at}\r\n\r\n"
        return hmsg("_INBOX.1", headers, f'"{in_text}"')

    for made in (answer, direct):
        assert sent(made(before, before), shift_s) == made(after, before)


def test_a_message_of_ours_passes_whatever_it_says() -> None:
    ours = json.dumps({"ts": "2023-11-14T22:13:20Z"})
    stream = b"INFO {}\r\n+OK\r\nPING\r\n" + msg("results.hot", ours) + hmsg("x", "NATS/1.0\r\n\r\n", ours)
    assert sent(stream, 30) == stream


def test_a_time_is_shifted_by_what_was_in_force_then() -> None:
    clock = shifts((AT_NS, 30 * S), (AT_NS + 100 * S, 0))
    assert clock.shifted(AT_NS - 1) == AT_NS - 1
    assert clock.shifted(AT_NS) == AT_NS + 30 * S
    assert clock.shifted(AT_NS + 99 * S) == AT_NS + 129 * S
    assert clock.shifted(AT_NS + 100 * S) == AT_NS + 100 * S


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"PING\r\n", b"PONG\r\n", b'INFO {"a":1}\r\n', b"-ERR 'x'\r\n"]),
            st.text("ab\r\nMSG 1", max_size=20).map(lambda payload: msg("a.b", payload)),
            st.text("ab\r\n", max_size=20).map(lambda p: hmsg("a", "NATS/1.0\r\n\r\n", p, "reply")),
            st.just(msg("events.3", "x", f"$JS.ACK.E.c.1.5.6.{AT_NS}.0")),
        ),
        max_size=6,
    ).map(b"".join),
    st.data(),
)
def test_however_a_stream_is_cut_the_same_comes_out(stream: bytes, data: st.DataObject) -> None:
    whole = sent(stream, -12.5)
    assert NatsTimes(ClockShifts()).feed(stream) == stream
    times = NatsTimes(shifts((0, round(-12.5 * S))))
    got = b""
    while stream:
        length = data.draw(st.integers(1, len(stream)))
        got += times.feed(stream[:length])
        stream = stream[length:]
    assert got == whole
