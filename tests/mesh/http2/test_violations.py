"""What RFC 9113 forbids a client, byte by byte, and the code it is answered with."""

from __future__ import annotations

from collections.abc import Callable

import hpack
import pytest

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.errors import FRAME_CODES
from tests.support.http2_peer import PATH, Peer, codes, data, message, request_fields

Act = Callable[[Peer], bytes]

# What a client does on a settled connection where stream 1 is open, 3 half-closed by the client, and 5 was
# reset by it; the code of GOAWAY.
CONNECTION_ENDS: dict[str, tuple[Act, int]] = {
    "a frame larger than MAX_FRAME_SIZE": (lambda p: data(1, b"\0" * 16_385), f.FRAME_SIZE_ERROR),
    "DATA on stream 0": (lambda p: data(0, b"x"), f.PROTOCOL_ERROR),
    "DATA on an idle stream": (lambda p: data(7, b"x"), f.PROTOCOL_ERROR),
    "DATA on a stream of the server": (lambda p: data(2, b"x"), f.PROTOCOL_ERROR),
    "DATA with as much padding as payload": (
        lambda p: f.frame(f.DATA, f.PADDED, 1, b"\x05xxxx"),
        f.PROTOCOL_ERROR,
    ),
    "DATA that is padded and empty": (lambda p: f.frame(f.DATA, f.PADDED, 1), f.FRAME_SIZE_ERROR),
    "HEADERS on stream 0": (lambda p: p.headers(0), f.PROTOCOL_ERROR),
    "HEADERS on an even stream": (lambda p: p.headers(8), f.PROTOCOL_ERROR),
    "HEADERS on a closed stream": (lambda p: p.headers(5), f.PROTOCOL_ERROR),
    "HEADERS on a stream that was passed over": (
        lambda p: p.headers(11) + p.headers(9),
        f.PROTOCOL_ERROR,
    ),
    "HEADERS with more padding than payload": (
        lambda p: f.frame(f.HEADERS, f.PADDED | f.END_HEADERS, 7, b"\x09\x82"),
        f.PROTOCOL_ERROR,
    ),
    "HEADERS that are padded and empty": (
        lambda p: f.frame(f.HEADERS, f.PADDED | f.END_HEADERS, 7),
        f.FRAME_SIZE_ERROR,
    ),
    "HEADERS too short for their priority": (
        lambda p: f.frame(f.HEADERS, f.WITH_PRIORITY | f.END_HEADERS, 7, b"\0\0"),
        f.FRAME_SIZE_ERROR,
    ),
    "a header block that is none": (
        lambda p: f.frame(f.HEADERS, f.END_HEADERS, 7, b"\xff\xff\xff\xff\xff"),
        f.COMPRESSION_ERROR,
    ),
    "a header block that ends too early": (
        lambda p: f.frame(f.HEADERS, f.END_HEADERS, 7, b"\x00\x05ab"),
        f.COMPRESSION_ERROR,
    ),
    "a header table larger than allowed": (
        lambda p: f.frame(f.HEADERS, f.END_HEADERS, 7, b"\x3f\xe1\xff\x03"),
        f.COMPRESSION_ERROR,
    ),
    "a frame between HEADERS and CONTINUATION": (
        lambda p: f.frame(f.HEADERS, 0, 7, b"") + f.frame(f.PING, 0, 0, b"12345678"),
        f.PROTOCOL_ERROR,
    ),
    "DATA of a call between HEADERS and CONTINUATION": (
        lambda p: f.frame(f.HEADERS, 0, 7, b"") + data(1, message(b"x")),
        f.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        lambda p: f.frame(f.HEADERS, 0, 7, b"") + f.frame(f.CONTINUATION, f.END_HEADERS, 9),
        f.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (lambda p: f.frame(f.CONTINUATION, f.END_HEADERS, 1), f.PROTOCOL_ERROR),
    "CONTINUATION after END_HEADERS": (
        lambda p: p.headers(7) + f.frame(f.CONTINUATION, f.END_HEADERS, 7),
        f.PROTOCOL_ERROR,
    ),
    "CONTINUATION without end, in bytes": (
        lambda p: f.frame(f.HEADERS, 0, 7) + f.frame(f.CONTINUATION, 0, 7, b"\0" * 16_384) * 5,
        f.ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION without end, in frames": (
        lambda p: f.frame(f.HEADERS, 0, 7) + f.frame(f.CONTINUATION, 0, 7) * 33,
        f.ENHANCE_YOUR_CALM,
    ),
    "a header list that no proxy would send": (
        lambda p: f.frame(f.HEADERS, f.END_HEADERS, 7, b"\x00\x01a\x00" * 2_500),
        f.ENHANCE_YOUR_CALM,
    ),
    "PRIORITY on stream 0": (lambda p: f.frame(f.PRIORITY, 0, 0, b"\0\0\0\0\0"), f.PROTOCOL_ERROR),
    "PRIORITY of 4 bytes on an idle stream": (
        lambda p: f.frame(f.PRIORITY, 0, 7, b"\0\0\0\0"),
        f.FRAME_SIZE_ERROR,
    ),
    "RST_STREAM on stream 0": (lambda p: f.rst_stream(0, f.CANCEL), f.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (lambda p: f.rst_stream(7, f.CANCEL), f.PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (lambda p: f.frame(f.RST_STREAM, 0, 1, b"\0\0\0"), f.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (lambda p: f.frame(f.SETTINGS, 0, 1), f.PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (lambda p: f.frame(f.SETTINGS, 0, 0, b"\0\0\0\0\0"), f.FRAME_SIZE_ERROR),
    "an ACK of SETTINGS with content": (
        lambda p: f.frame(f.SETTINGS, f.ACK, 0, b"\0\0\0\0\0\0"),
        f.FRAME_SIZE_ERROR,
    ),
    "ENABLE_PUSH of 2": (lambda p: f.settings({f.ENABLE_PUSH: 2}), f.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE of 2^31": (
        lambda p: f.settings({f.INITIAL_WINDOW_SIZE: 2**31}),
        f.FLOW_CONTROL_ERROR,
    ),
    "INITIAL_WINDOW_SIZE that lifts a window above 2^31 - 1": (
        lambda p: f.window_update(1, 2**30) + f.settings({f.INITIAL_WINDOW_SIZE: 2**31 - 1}),
        f.FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE too small": (lambda p: f.settings({f.MAX_FRAME_SIZE: 16_383}), f.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE too large": (lambda p: f.settings({f.MAX_FRAME_SIZE: 2**24}), f.PROTOCOL_ERROR),
    "PUSH_PROMISE": (lambda p: f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, b"\0\0\0\x02"), f.PROTOCOL_ERROR),
    "PING on a stream": (lambda p: f.frame(f.PING, 0, 1, b"12345678"), f.PROTOCOL_ERROR),
    "PING of 7 bytes": (lambda p: f.frame(f.PING, 0, 0, b"1234567"), f.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (lambda p: f.frame(f.GOAWAY, 0, 1, b"\0" * 8), f.PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (lambda p: f.frame(f.GOAWAY, 0, 0, b"\0" * 7), f.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 3 bytes": (lambda p: f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\1"), f.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of the connection by 0": (lambda p: f.window_update(0, 0), f.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (lambda p: f.window_update(7, 1), f.PROTOCOL_ERROR),
    "the connection's window above 2^31 - 1": (
        lambda p: f.window_update(0, 2**31 - 1),
        f.FLOW_CONTROL_ERROR,
    ),
    "more DATA than the connection's window": (
        lambda p: b"".join(data(1, b"\0" * 16_384) for _ in range(257)),
        f.FLOW_CONTROL_ERROR,
    ),
}

# The same, for what ends one stream: the code of RST_STREAM.
STREAM_ENDS: dict[str, tuple[Act, int]] = {
    "DATA after END_STREAM": (lambda p: data(3, b"x"), f.STREAM_CLOSED),
    "HEADERS after END_STREAM": (lambda p: p.headers(3), f.STREAM_CLOSED),
    "DATA on a stream that the client reset": (lambda p: data(5, b"x"), f.STREAM_CLOSED),
    "DATA after the answer": (lambda p: _answered(p, 7) + data(7, b"x"), f.STREAM_CLOSED),
    "trailers that do not end the stream": (lambda p: p.headers(1, [("a", "b")]), f.PROTOCOL_ERROR),
    "trailers with a pseudo-header": (
        lambda p: p.headers(1, [(":path", "/")], last=True),
        f.PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE by 0": (lambda p: f.window_update(1, 0), f.PROTOCOL_ERROR),
    "a window above 2^31 - 1": (lambda p: f.window_update(1, 2**31 - 1), f.FLOW_CONTROL_ERROR),
    "more DATA than the window": (
        lambda p: _paused(p) + data(1, b"\0" * 16_384) * 2 + data(1, b"\0"),
        f.FLOW_CONTROL_ERROR,
    ),
    "more padding than the window": (
        lambda p: _paused(p) + data(1, b"", padding=255) * 129,
        f.FLOW_CONTROL_ERROR,
    ),
    "PRIORITY of 4 bytes": (lambda p: f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0"), f.FRAME_SIZE_ERROR),
    "content-length that is more than what came": (
        lambda p: (
            p.headers(7, request_fields(PATH, ("content-length", "7"))) + data(7, message(b"x"), last=True)
        ),
        f.PROTOCOL_ERROR,
    ),
    "content-length that is less than what came": (
        lambda p: (
            p.headers(7, request_fields(PATH, ("content-length", "5"))) + data(7, message(b"x"), last=True)
        ),
        f.PROTOCOL_ERROR,
    ),
    "content-length without content": (
        lambda p: p.headers(7, request_fields(PATH, ("content-length", "1")), last=True),
        f.PROTOCOL_ERROR,
    ),
    "two lengths of the content": (
        lambda p: p.headers(7, request_fields(PATH, ("content-length", "1"), ("content-length", "2"))),
        f.PROTOCOL_ERROR,
    ),
    "a length that is no number": (
        lambda p: p.headers(7, request_fields(PATH, ("content-length", "-1"))),
        f.PROTOCOL_ERROR,
    ),
}

MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no method": request_fields()[1:],
    "no scheme": [each for each in request_fields() if each[0] != ":scheme"],
    "no path": [each for each in request_fields() if each[0] != ":path"],
    "an empty path": request_fields(""),
    "two methods": [(":method", "POST"), *request_fields()],
    "an unknown pseudo-header": [(":protocol", "websocket"), *request_fields()],
    "a pseudo-header of responses": [(":status", "200"), *request_fields()],
    "a pseudo-header behind a field": [*request_fields()[1:], (":method", "POST")],
    "a path without a slash": request_fields("test.Test/Talk"),
    "a path of * that is no OPTIONS": request_fields("*"),
    "a user in the authority": [
        (name, "me@test" if name == ":authority" else value) for name, value in request_fields()
    ],
    "CONNECT with a path": [(":method", "CONNECT"), *request_fields()[1:]],
    "CONNECT without an authority": [(":method", "CONNECT")],
    "a name in upper case": request_fields(PATH, ("Upper", "x")),
    "a name with a blank": request_fields(PATH, ("a b", "x")),
    "an empty name": request_fields(PATH, ("", "x")),
    "a name with a colon in it": request_fields(PATH, ("a:b", "x")),
    "a value with a new line": request_fields(PATH, ("a", "x\ny: z")),
    "a value with a zero": request_fields(PATH, ("a", "x\0")),
    "a path with a new line": request_fields("/a\r\nb"),
    "connection": request_fields(PATH, ("connection", "close")),
    "keep-alive": request_fields(PATH, ("keep-alive", "1")),
    "proxy-connection": request_fields(PATH, ("proxy-connection", "close")),
    "transfer-encoding": request_fields(PATH, ("transfer-encoding", "chunked")),
    "upgrade": request_fields(PATH, ("upgrade", "h2c")),
    "te other than trailers": request_fields(PATH, ("te", "gzip")),
}


def _paused(peer: Peer) -> bytes:
    peer.handlers[0].call.pause()
    return b""


def _answered(peer: Peer, stream: int) -> bytes:
    peer.feed(peer.headers(stream, last=True))
    peer.handlers[-1].call.end()
    return b""


def ready() -> Peer:
    peer = Peer()
    peer.settle()
    peer.open(1)
    peer.feed(peer.headers(3, last=True))
    peer.feed(peer.headers(5) + f.rst_stream(5, f.CANCEL))
    return peer


@pytest.mark.parametrize("name", CONNECTION_ENDS)
def test_the_connection_ends_with_its_code(name: str) -> None:
    act, code = CONNECTION_ENDS[name]
    peer = ready()
    said = peer.feed(act(peer))
    assert [each for each in codes(said) if each[0] == "GOAWAY"] == [("GOAWAY", code)]
    assert peer.is_hung_up
    counted = dict(peer.terminations.items())
    assert [(each.scope, each.code) for each in counted] == [("connection", FRAME_CODES[code])]
    assert sum(counted.values()) == 1
    assert all(handler.events[-1] == "gone" for handler in peer.handlers)
    assert peer.streams == 0
    # What comes after it is not looked at.
    assert peer.feed(f.frame(f.PING, 0, 0, b"12345678")) == []


@pytest.mark.parametrize("name", STREAM_ENDS)
def test_the_stream_ends_with_its_code_and_the_others_go_on(name: str) -> None:
    act, code = STREAM_ENDS[name]
    peer = ready()
    assert codes(peer.feed(act(peer))) == [("RST_STREAM", code)]
    assert not peer.is_hung_up
    assert [(*each[:2], n) for each, n in peer.terminations.items()] == [("stream", FRAME_CODES[code], 1)]
    witness = peer.open(21)
    peer.feed(data(21, message(b"still there"), last=True))
    assert witness.messages == [b"still there"]
    assert witness.events == ["half-closed"]


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_reset_and_not_accepted(name: str) -> None:
    peer = Peer()
    peer.settle()
    assert codes(peer.feed(peer.headers(1, MALFORMED[name]))) == [("RST_STREAM", f.PROTOCOL_ERROR)]
    assert [str(each) for each, _ in peer.terminations.items()] == ["stream PROTOCOL_ERROR malformed"]
    assert peer.handlers == []
    peer.open(3)
    assert len(peer.handlers) == 1


def test_a_preface_that_is_none_ends_at_its_first_wrong_byte() -> None:
    for wrong in (b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"):
        peer = Peer()
        peer.said()
        assert codes(peer.feed(wrong)) == [("GOAWAY", f.PROTOCOL_ERROR)], wrong
        assert peer.is_hung_up


@pytest.mark.parametrize(
    "first", [f.frame(f.PING, 0, 0, b"12345678"), f.frame(f.SETTINGS, f.ACK, 0), f.window_update(0, 1)]
)
def test_settings_come_first(first: bytes) -> None:
    peer = Peer()
    peer.said()
    assert codes(peer.feed(f.PREFACE + first)) == [("GOAWAY", f.PROTOCOL_ERROR)]


def test_what_the_rfc_says_to_ignore_is_ignored() -> None:
    peer = ready()
    harmless = [
        f.frame(0x2A, 0xFF, 1, b"unknown"),
        f.frame(0x2A, 0, 0, b""),
        f.settings({0xFFFF: 7, f.MAX_CONCURRENT_STREAMS: 0, f.HEADER_TABLE_SIZE: 0}),
        f.frame(f.PRIORITY, 0, 1, b"\0\0\0\1\xff"),
        f.frame(f.PRIORITY, 0, 99, b"\0\0\0\1\xff"),
        f.window_update(5, 1),
        f.window_update(5, 0),
        f.rst_stream(5, f.CANCEL),
        f.frame(f.SETTINGS, f.ACK, 0),
        f.frame(f.PING, f.ACK, 0, b"whatever"),
        peer.headers(1, [("trailer", "1")], last=True),
        # The reserved bit.
        f.frame(f.WINDOW_UPDATE, 0, 3 | 1 << 31, b"\x80\0\0\1"),
    ]
    assert codes(peer.feed(b"".join(harmless))) == []
    assert peer.handlers[0].events == ["half-closed"]


def test_a_ping_is_answered_with_its_bytes() -> None:
    peer = ready()
    said = peer.feed(f.frame(f.PING, 0, 0, b"12345678"))
    assert [(each.kind, each.flags, each.payload) for each in said] == [(f.PING, f.ACK, b"12345678")]


def test_what_was_on_its_way_to_a_stream_that_we_reset_is_ignored() -> None:
    peer = ready()
    peer.handlers[0].call.end()
    assert codes(peer.said()) == [("RST_STREAM", f.NO_ERROR)]
    on_its_way = data(1, message(b"late")) + f.window_update(1, 5) + peer.headers(1, [("a", "b")], last=True)
    assert codes(peer.feed(on_its_way)) == []
    assert peer.handlers[0].messages == []


def test_streams_that_were_reset_long_ago_are_closed_streams() -> None:
    peer = Peer(streams_max=10_000)
    peer.settle()
    for number in range(1, 2 * bounds.RESET_STREAMS_REMEMBERED + 2, 2):
        peer.open(number).call.end()
    peer.said()
    assert codes(peer.feed(data(1, b"x"))) == [("RST_STREAM", f.STREAM_CLOSED)]
    assert codes(peer.feed(data(1, b"x") + data(5, b"x"))) == []


def test_a_field_of_the_table_named_again_and_again_ends_the_connection() -> None:
    """4,000 bytes, once, before the peer knows that it has no table; then one byte each time."""
    peer = Peer()
    peer.feed(f.PREFACE + f.settings({}))
    block = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000 + b"\xbe" * 30
    said = peer.feed(f.frame(f.HEADERS, f.END_HEADERS, 1, block))
    assert codes(said) == [("GOAWAY", f.ENHANCE_YOUR_CALM)]


def test_a_client_that_never_used_the_table_need_not_say_that_it_gave_it_up() -> None:
    peer = Peer()
    peer.settle()
    peer.encoder = hpack.Encoder()
    peer.encoder.header_table_size = 0
    peer.encoder.encode([])
    peer.open(1)
    assert peer.streams == 1


def test_our_first_header_block_says_that_we_keep_no_table() -> None:
    peer = Peer()
    peer.settle({f.HEADER_TABLE_SIZE: 0})
    peer.decoder.max_allowed_table_size = 0
    for stream in (1, 3):
        peer.feed(peer.headers(stream, last=True))
        peer.handlers[-1].call.end()
        said = peer.said()
        assert (said[0].payload[0] == 0x20) == (stream == 1)
        assert peer.read(said[0])["grpc-status"] == "0"


def test_a_goaway_never_names_a_later_stream_than_the_one_before() -> None:
    peer = ready()
    peer.server.drain()
    ping = next(each for each in peer.said() if each.kind == f.PING)
    said = peer.feed(f.frame(f.PING, f.ACK, 0, ping.payload))
    said += peer.feed(peer.headers(7) + f.frame(f.PING, 0, 1, b"12345678"))
    goaways = [int.from_bytes(each.payload[:4], "big") for each in said if each.kind == f.GOAWAY]
    assert goaways == [5, 5]


def test_more_data_than_content_length_is_noticed_before_the_end() -> None:
    peer = ready()
    peer.feed(peer.headers(7, request_fields(PATH, ("content-length", "6"))))
    assert codes(peer.feed(data(7, message(b"x")))) == []
    assert codes(peer.feed(data(7, message(b"y")))) == [("RST_STREAM", f.PROTOCOL_ERROR)]
    assert peer.handlers[-1].messages == [b"x"]


REFUSED: dict[str, list[tuple[str, str]]] = {
    "an unknown method": request_fields("/test.Test/Other"),
    "no gRPC": [each for each in request_fields() if each[0] != "content-type"],
    "no POST": [(":method", "PUT"), *request_fields()[1:]],
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "act",
    [
        lambda p: f.window_update(7, 0),
        lambda p: data(7, message(b"x"), last=True),
        lambda p: data(7, message(b"too much")),
        lambda p: p.headers(7, [(":path", "/")], last=True),
        lambda p: p.headers(7, [("a", "b")]),
        lambda p: p.headers(7, [("a", "b")], last=True),
    ],
)
def test_a_request_that_is_refused_is_held_to_the_same_rules(name: str, act: Act) -> None:
    peer = ready()
    assert codes(peer.feed(peer.headers(7, [*REFUSED[name], ("content-length", "7")]))) == []
    assert codes(peer.feed(act(peer))) == [("RST_STREAM", f.PROTOCOL_ERROR)]
    assert peer.streams == 2
    assert peer.alarms == 0


def test_trailers_of_a_reset_stream_still_feed_the_header_table() -> None:
    """Before the peer knows that it has none."""
    peer = Peer()
    peer.feed(f.PREFACE + f.settings({}))
    peer.open(1).call.end()
    # The encoder puts x-new into the table with the trailers, and names it by its index afterwards.
    peer.feed(peer.headers(1, [("x-new", "value")], last=True))
    handler = peer.open(7, ("x-new", "value"))
    assert ("x-new", "value") in handler.metadata
