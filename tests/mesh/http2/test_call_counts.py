"""What our engine tells of its calls by method: the status that each ended with, whoever ended it."""

from __future__ import annotations

import pytest

from grandstand.wire.errors import Exhausted
from mesh.http2 import frames as f
from mesh.http2.call import Call, Handler
from mesh.http2.errors import CANCELLED, INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE
from tests.support.http2_peer import PATH, Peer, data, request_fields

FAILED_PRECONDITION = 9


def opened(peer: Peer) -> Peer:
    peer.settle()
    peer.open()
    return peer


def ended(peer: Peer) -> list[tuple[str, int]]:
    assert all(call.is_closed for call in peer.calls)
    return [(call.path, call.status) for call in peer.calls]


@pytest.mark.parametrize("code", [0, FAILED_PRECONDITION])
def test_a_call_has_the_status_that_its_handler_ended_it_with(code: int) -> None:
    peer = opened(Peer())
    peer.handlers[0].call.end(code, "so")
    peer.said()
    assert ended(peer) == [(PATH, code)]


def test_a_call_that_its_client_resets_is_cancelled() -> None:
    peer = opened(Peer())
    peer.feed(f.rst_stream(1, 8))
    assert ended(peer) == [(PATH, CANCELLED)]


def test_a_call_that_the_server_ends_has_the_servers_status() -> None:
    peer = opened(Peer())
    peer.server.cut()
    assert ended(peer) == [(PATH, UNAVAILABLE)]


@pytest.mark.parametrize(
    ("error", "status"), [(Exhausted("too many"), RESOURCE_EXHAUSTED), (RuntimeError("a fault"), INTERNAL)]
)
def test_a_call_that_is_not_accepted_has_the_status_of_its_refusal(error: Exception, status: int) -> None:
    def refuse(_: Call) -> Handler:
        raise error

    peer = Peer(refuse)
    peer.settle()
    peer.feed(peer.headers(1) + data(1, b"\0\0\0\0\0"))
    assert ended(peer) == [(PATH, status)]


def test_what_is_no_method_is_no_call() -> None:
    peer = Peer()
    peer.settle()
    peer.feed(peer.headers(1, request_fields(path="/grandstand.test.Echo/Nothing")))
    assert peer.calls == []
