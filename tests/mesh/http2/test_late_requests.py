"""A call whose request does not come ends with a status, and gives back its place."""

from __future__ import annotations

import pytest

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.errors import Cause
from tests.support.http2_peer import Frame, Peer, data, message

LATE_S = bounds.REQUEST_PATIENCE_S + 2 * bounds.LOOK_S
PART = message(b"a request")[:-1]


def statuses(peer: Peer, frames: list[Frame]) -> dict[int, str]:
    found = {}
    for frame in frames:
        if frame.kind == f.HEADERS and frame.flags & f.END_STREAM:
            found[frame.stream] = peer.read(frame)["grpc-status"]
    return found


def live(peer: Peer, seconds: float) -> dict[int, str]:
    """As a client that answers each PING."""
    said = dict[int, str]()
    for _ in range(round(seconds)):
        frames = peer.pass_time(1.0)
        said |= statuses(peer, frames)
        for each in frames:
            if each.kind == f.PING and not each.flags & f.ACK:
                peer.feed(f.frame(f.PING, f.ACK, 0, each.payload))
    return said


def settled() -> Peer:
    peer = Peer()
    peer.settle()
    return peer


@pytest.mark.parametrize("sent", [b"", PART, message(b"a request")], ids=["nothing", "a part", "no end"])
def test_a_request_that_does_not_come_to_its_end_ends_the_call(sent: bytes) -> None:
    peer = settled()
    handler = peer.open()
    peer.feed(data(1, sent))
    assert not statuses(peer, peer.pass_time(bounds.REQUEST_PATIENCE_S - bounds.LOOK_S))
    frames = peer.pass_time(3 * bounds.LOOK_S)
    (answer,) = (frame for frame in frames if frame.kind == f.HEADERS)
    said = peer.read(answer)
    assert said["grpc-status"] == "4"
    assert said["grpc-message"].startswith("no whole request came within 5 s")
    assert (handler.events, peer.streams, peer.server.calls.open) == (["gone"], 0, {})
    assert peer.terminations.of(Cause.REQUEST) == 1


def test_one_that_drips_in_ends_too() -> None:
    peer = settled()
    peer.open()
    said = dict[int, str]()
    for octet in message(b"very slowly"):
        peer.feed(data(1, bytes((octet,))))
        said |= statuses(peer, peer.pass_time(1.0))
    assert said == {1: "4"}


def test_a_call_that_was_answered_or_whose_request_has_ended_lives_on() -> None:
    peer = settled()
    answered, asked = peer.open(1), peer.open(3)
    answered.on_message = answered.call.send
    peer.feed(data(1, message(b"hello")) + data(3, message(b"a request"), last=True))
    peer.feed(peer.headers(5, last=True))
    assert not live(peer, 10 * LATE_S)
    assert asked.messages == [b"a request"]
    assert peer.streams == 3


def test_of_many_each_has_its_own_time() -> None:
    peer = settled()
    for stream in range(1, 11, 2):
        peer.open(stream)
        peer.pass_time(2.0)
    assert set(peer.server.calls.open) == {7, 9}
    assert statuses(peer, peer.pass_time(LATE_S)) == dict.fromkeys((7, 9), "4")


def test_a_process_that_stood_still_ends_no_call_for_a_request_that_it_has_not_read() -> None:
    peer = settled()
    handler = peer.open()
    peer.now += 60.0
    peer.server.look(peer.now)
    peer.feed(data(1, message(b"it was there all the time"), last=True))
    assert handler.messages == [b"it was there all the time"]


def test_nor_one_of_a_connection_that_is_not_read() -> None:
    peer = settled()
    handler = peer.open()
    for _ in range(60):
        peer.now += bounds.LOOK_S
        peer.server.peer_reads(peer.now)
        peer.server.look(peer.now, is_read=False)
    peer.feed(data(1, message(b"held back"), last=True))
    assert handler.messages == [b"held back"]
