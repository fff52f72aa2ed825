"""I1: what is taken for an ack is one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire.errors import Exhausted, GrandstandError
from mesh.jetstream import acks


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":"EVENTS", "seq":42}',
        b'{"stream":"EVENTS","seq":42}',
        b'{"stream":"EVENTS", "seq":42,"duplicate": true}',
        b'{"stream":"EVENTS", "domain":"leaf", "seq":42}',
        b'{ "seq": 42, "stream": "EVENTS", "batch": "of a later server", "count": 1 }',
    ],
)
def test_an_ack_has_its_sequence(body: bytes) -> None:
    assert acks.read(body) == 42


def error(code: int, err_code: int, description: str) -> bytes:
    told = {"code": code, "err_code": err_code, "description": description}
    return json.dumps({"error": told, "stream": "EVENTS", "seq": 0}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",  # no responders
        b'{"stream":"EVENTS", "seq":0,"duplicate": true}',  # its first attempt is still under way
        b'{"stream":"EVENTS"}',
        b"[]",
        b"\xff",
        error(409, 10158, "duplicate message id is in process"),
        error(503, 10008, "JetStream system temporarily unavailable"),
        error(503, 0, "raft: not leader"),
        error(503, 10077, "store is closed"),
        error(500, 10009, "JetStream cluster can not handle request"),
    ],
)
def test_what_may_pass_is_neither_an_ack_nor_a_refusal(body: bytes) -> None:
    assert acks.read(body) is None


@pytest.mark.parametrize(
    "body",
    [
        error(503, 10077, "maximum bytes exceeded"),
        error(400, 10077, "maximum messages exceeded"),
        error(500, 10047, "insufficient storage resources available"),
        error(503, 10023, "insufficient resources"),
    ],
)
def test_a_log_without_room_says_so(body: bytes) -> None:
    assert isinstance(acks.read(body), Exhausted)


def test_what_is_wrong_with_the_message_is_final_and_named() -> None:
    refused = acks.read(error(400, 10054, "message size exceeds maximum allowed"))
    assert isinstance(refused, GrandstandError)
    assert not refused.retryable
    assert "message size exceeds" in refused.message


@given(st.binary(max_size=60) | st.from_regex(rb'\{"stream": ?"[A-Z]*", ?"seq": ?-?[0-9]{0,22}[,}]?.{0,9}'))
def test_whatever_comes_is_read(body: bytes) -> None:
    found = acks.read(body)
    assert found is None or isinstance(found, GrandstandError) or found >= 1
