"""Flow control of what is received: who reads gets its window back, who does not holds up nobody else."""

from __future__ import annotations

from mesh.http2 import bounds
from mesh.http2 import frames as f
from tests.support.http2_peer import Frame, Peer, codes, data, message


def granted(said: list[Frame], stream: int) -> int:
    return sum(
        int.from_bytes(each.payload, "big")
        for each in said
        if each.kind == f.WINDOW_UPDATE and each.stream == stream
    )


def test_a_call_that_reads_gets_its_window_back_and_one_that_is_paused_does_not() -> None:
    peer = Peer()
    peer.settle()
    reads, paused = peer.open(1), peer.open(3)
    paused.call.pause()
    piece = message(b"x" * 1019)
    sent = bounds.STREAM_WINDOW_BYTES // len(piece)
    said: list[Frame] = []
    for _ in range(sent):
        said += peer.feed(data(1, piece) + data(3, piece))
    assert granted(said, 1) == bounds.STREAM_WINDOW_BYTES
    assert granted(said, 3) == 0
    assert (len(reads.messages), len(paused.messages)) == (sent, 0)
    paused.call.resume()
    assert paused.messages == [], "what waited comes from the loop, not from within resume"
    assert granted(peer.said(), 3) == bounds.STREAM_WINDOW_BYTES
    assert len(paused.messages) == sent


def test_paused_again_before_the_loop_comes_round_nothing_is_delivered() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open()
    handler.call.pause()
    peer.feed(data(1, message(b"1") + message(b"2"), last=True))
    handler.call.resume()
    handler.call.pause()
    peer.turn()
    assert (handler.messages, handler.events) == ([], [])
    handler.on_message = lambda _: handler.call.pause()
    handler.call.resume()
    peer.turn()
    assert (handler.messages, handler.events) == ([b"1"], [])
    handler.call.resume()
    peer.turn()
    assert (handler.messages, handler.events) == ([b"1", b"2"], [])
    for _ in range(2):
        # The second time there is nothing more to tell.
        handler.call.resume()
        peer.turn()
        assert (handler.messages, handler.events) == ([b"1", b"2"], ["half-closed"])
        handler.call.pause()


def test_what_comes_between_resume_and_the_loop_stays_behind_what_waited() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open()
    handler.call.pause()
    peer.feed(data(1, message(b"1")))
    handler.call.resume()
    peer.server.receive(data(1, message(b"2")), peer.now)
    peer.turn()
    assert handler.messages == [b"1", b"2"]


def test_a_paused_call_holds_up_no_other_however_many_there_are() -> None:
    """More is sent to paused calls than the connection's window holds, and a witness still reads."""
    peer = Peer()
    peer.settle()
    piece = message(b"x" * 16_000)
    paused = 2 * bounds.CONNECTION_WINDOW_BYTES // bounds.STREAM_WINDOW_BYTES
    allowed = bounds.CONNECTION_WINDOW_BYTES
    for number in range(1, 2 * paused, 2):
        peer.open(number).call.pause()
        for _ in range(2):
            allowed -= len(piece)
            assert allowed >= 0
            allowed += granted(peer.feed(data(number, piece)), 0)
    witness = peer.open(2 * paused + 1)
    peer.feed(data(2 * paused + 1, message(b"here")))
    assert witness.messages == [b"here"]


def test_the_call_that_lets_a_connection_hold_too_much_is_ended() -> None:
    peer = Peer(streams_max=10_000)
    peer.settle()
    piece = message(b"x" * 16_000)
    number = -1
    while not any(handler.events for handler in peer.handlers):
        number += 2
        peer.open(number).call.pause()
        peer.feed(data(number, piece))
        peer.feed(data(number, piece))
        assert peer.server.calls.buffered_bytes <= bounds.BUFFERED_BYTES_MAX
    assert number // 2 >= bounds.BUFFERED_BYTES_MAX // bounds.STREAM_WINDOW_BYTES - 1
    assert peer.handlers[-1].events == ["gone"]
    assert [handler.events for handler in peer.handlers[:-1]] == [[]] * (len(peer.handlers) - 1)
    # A call that resumes makes room.
    peer.handlers[0].call.resume()
    peer.turn()
    peer.open(number + 2).call.pause()
    peer.feed(data(number + 2, piece))
    assert peer.handlers[-1].events == []


def test_a_call_that_has_ended_hears_no_more_and_keeps_nothing() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 0})
    handler = peer.open(1)
    handler.call.send(b"waits")
    handler.on_message = lambda _: handler.call.end()
    peer.feed(data(1, message(b"1") + message(b"2") + message(b"3")[:4]))
    assert handler.messages == [b"1"]
    paused = peer.open(3)
    paused.call.send(b"waits")
    paused.call.pause()
    peer.feed(data(3, message(b"1")))
    paused.call.end()
    assert peer.server.calls.buffered_bytes == 0
    # What still comes is given back, so that no client stands there with a full window.
    full = b"\0" * 16_384
    assert granted(peer.feed(data(1, full) + data(3, full)), 1) >= len(full)
    assert peer.server.calls.buffered_bytes == 0
    assert len(peer.server.calls.open) == 2
    assert codes(peer.feed(f.window_update(1, 100) + f.window_update(3, 100))) == [
        ("RST_STREAM", f.NO_ERROR),
        ("RST_STREAM", f.NO_ERROR),
    ]
    assert (handler.events, paused.events) == ([], [])


def test_before_the_client_knows_our_settings_it_may_use_the_default_window() -> None:
    peer = Peer()
    peer.feed(f.PREFACE + f.settings({}))
    early = peer.open(1)
    early.call.pause()
    full = b"\0" * 16_384
    assert codes(peer.feed(data(1, full) * 3 + data(1, full[:-1]))) == []
    peer.acknowledge()
    late = peer.open(3)
    late.call.pause()
    assert codes(peer.feed(data(3, full) * 2)) == []
    assert codes(peer.feed(data(3, b"x"))) == [("RST_STREAM", f.FLOW_CONTROL_ERROR)]
    assert codes(peer.feed(data(1, b"x"))) == [("RST_STREAM", f.FLOW_CONTROL_ERROR)]
