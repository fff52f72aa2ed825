"""However its bytes are cut, into frames and into reads, a stream says the same messages; and what is no
message ends its call with the status that says so."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.http2 import bounds, headers
from mesh.http2 import frames as f
from mesh.http2.call import Page
from mesh.http2.errors import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from tests.support.http2_peer import PATH, Peer, codes, data, message, request_fields

PAYLOADS = st.lists(
    st.one_of(st.binary(max_size=60), st.integers(0, 40_000).map(lambda size: b"\xab" * size)), max_size=12
)


def cut(whole: bytes, sizes: list[int]) -> list[bytes]:
    """`whole` in pieces of `sizes`, the last size again and again."""
    pieces = []
    at = 0
    sizes = sizes or [f.WINDOW_DEFAULT]
    while at < len(whole):
        size = sizes[min(len(pieces), len(sizes) - 1)]
        pieces.append(whole[at : at + size])
        at += size
    return pieces


@given(
    payloads=PAYLOADS,
    frame_sizes=st.lists(st.integers(1, 16_000), max_size=8),
    reads=st.lists(st.integers(1, 20_000), max_size=8),
    padding=st.one_of(st.none(), st.integers(0, 255)),
    stops=st.sets(st.integers(0, 11)),
    end_with_headers=st.booleans(),
)
def test_any_cut_gives_the_same_messages(
    payloads: list[bytes],
    frame_sizes: list[int],
    reads: list[int],
    padding: int | None,
    stops: set[int],
    end_with_headers: bool,
) -> None:
    """The handler stops reading after some of the messages, and reads on a turn later."""
    peer = Peer()
    peer.settle()
    handler = peer.open()

    def stop(_: bytes) -> None:
        if len(handler.messages) - 1 in stops:
            handler.call.pause()
            # In the turn after this one.
            peer.soon(handler.call.resume)

    handler.on_message = stop
    allowed = bounds.STREAM_WINDOW_BYTES

    def obey(piece: bytes) -> None:
        """A client keeps to the window."""
        nonlocal allowed
        allowed -= len(piece) + (0 if padding is None else padding + 1)
        assert allowed >= 0, "a client that keeps to its window would wait for ever"
        for each in cut(data(1, piece, padding=padding), reads):
            for said in peer.feed(each):
                if said.kind == f.WINDOW_UPDATE and said.stream == 1:
                    allowed += int.from_bytes(said.payload, "big")

    for piece in cut(
        b"".join(map(message, payloads)), [min(size, 16_000) for size in frame_sizes] or [16_000]
    ):
        obey(piece)
    peer.feed(peer.headers(1, [("x", "y")], last=True) if end_with_headers else data(1, b"", last=True))
    assert handler.messages == payloads
    assert handler.events == ["half-closed"]
    assert peer.server.calls.messages_received == len(payloads)
    assert peer.server.calls.buffered_bytes == 0
    assert peer.streams == 1


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_inflated(encoding: str, squeeze: type[bytes], one_by_one: bool) -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open(1, ("grpc-encoding", encoding))
    payloads = [b"a" * 1000, b"", b"xyz"]
    whole = b"".join(message(squeeze(each), 1) for each in payloads) + message(b"as it is")
    for piece in cut(whole, [1] if one_by_one else []):
        peer.feed(data(1, piece))
    assert handler.messages == [*payloads, b"as it is"]


def status_of(peer: Peer, sent: bytes, stream: int = 1) -> tuple[int, str]:
    said = peer.feed(sent)
    trailers = [each for each in said if each.kind == f.HEADERS and each.flags & f.END_STREAM]
    assert len(trailers) == 1
    fields = peer.read(trailers[0])
    return int(fields["grpc-status"]), fields.get("grpc-message", "")


@pytest.mark.parametrize(
    ("sent", "encoding", "code", "says"),
    [
        (f.PREFIX.pack(2, 1) + b"x", "identity", INTERNAL, "flag 2"),
        (message(b"x", 1), "identity", INTERNAL, "names no compression"),
        (message(b"nothing like it", 1), "gzip", INTERNAL, "no gzip"),
        (message(gzip.compress(b"x" * 100, mtime=0)[:-4], 1), "gzip", INTERNAL, "not exactly one"),
        (message(gzip.compress(b"x", mtime=0) + b"more", 1), "gzip", INTERNAL, "not exactly one"),
        (message(gzip.compress(b"x" * 262_145, mtime=0), 1), "gzip", RESOURCE_EXHAUSTED, "262144"),
        (f.PREFIX.pack(0, 262_145), "identity", RESOURCE_EXHAUSTED, "262145 bytes"),
        (f.PREFIX.pack(0, 2**32 - 1), "identity", RESOURCE_EXHAUSTED, "4294967295 bytes"),
    ],
)
def test_what_is_no_message_ends_the_call(sent: bytes, encoding: str, code: int, says: str) -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open(1, ("grpc-encoding", encoding))
    got, text = status_of(peer, data(1, message(b"good") + sent))
    assert got == code
    assert says in text
    assert handler.messages == [b"good"]
    assert handler.events == ["gone"]
    assert peer.server.calls.buffered_bytes == 0


def test_a_bomb_is_inflated_no_further_than_the_bound() -> None:
    bomb = message(gzip.compress(b"\0" * 50_000_000), 1)
    peer = Peer()
    peer.settle()
    peer.open(1, ("grpc-encoding", "gzip"))
    tracemalloc.start()
    try:
        got, _ = status_of(peer, b"".join(data(1, piece) for piece in cut(bomb, [16_000])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == RESOURCE_EXHAUSTED
    assert peak < 1_000_000


def test_a_message_of_exactly_the_bound_is_taken_and_one_byte_more_is_not() -> None:
    for size, code in ((64, None), (65, RESOURCE_EXHAUSTED)):
        peer = Peer(message_bytes_max=64)
        peer.settle()
        handler = peer.open()
        if code is None:
            peer.feed(data(1, message(b"x" * size)))
            assert handler.messages == [b"x" * size]
        else:
            got, text = status_of(peer, data(1, message(b"x" * size)))
            assert (got, handler.messages) == (code, [])
            assert "65 bytes" in text
            assert "64" in text


def test_a_stream_that_ends_within_a_message_is_told_so() -> None:
    for rest in (b"\0\0", message(b"twelve bytes")[:-1]):
        peer = Peer()
        peer.settle()
        handler = peer.open()
        got, text = status_of(peer, data(1, rest, last=True))
        assert got == INTERNAL
        assert f"{len(rest)} bytes" in text
        assert handler.events == ["gone"]


def test_an_unknown_encoding_is_answered_with_those_we_know() -> None:
    peer = Peer()
    peer.settle()
    said = peer.feed(peer.headers(1, request_fields(PATH, ("grpc-encoding", "br")), last=True))
    fields = peer.read(said[0])
    assert fields["grpc-status"] == str(UNIMPLEMENTED)
    assert fields["grpc-accept-encoding"] == "identity,deflate,gzip"
    assert peer.handlers == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([("content-type", "text/html")], "415"),
        ([("content-type", "application/grpc-web")], "415"),
        ([("content-type", "application/grpcx")], "415"),
        ([], "415"),
    ],
)
def test_what_is_no_grpc_is_no_media_for_us(fields: list[tuple[str, str]], status: str) -> None:
    peer = Peer()
    peer.settle()
    plain = [each for each in request_fields() if each[0] != "content-type"]
    assert peer.feed(peer.headers(1, plain + fields)) == []
    said = peer.pass_time(bounds.REPLY_DELAY_S)
    assert peer.read(said[0])[":status"] == status
    assert [json.loads(each.payload) for each in said if each.payload and each.kind == f.DATA] == [
        {"error": "only gRPC is spoken here"}
    ]
    assert said[-2].flags & f.END_STREAM
    assert codes(said) == [("RST_STREAM", f.NO_ERROR)]
    assert (peer.streams, peer.alarms) == (0, 0)


def test_methods_other_than_post_are_not_allowed() -> None:
    peer = Peer()
    peer.settle()
    said = peer.feed(peer.headers(1, [(":method", "GET"), *request_fields()[1:]], last=True))
    assert peer.read(said[0])[":status"] == "405"
    assert [each.kind for each in said if each.flags & f.END_STREAM] == [f.DATA]
    assert codes(said) == []
    assert (peer.streams, peer.alarms) == (0, 0)


def test_a_reply_that_nobody_reads_is_given_up() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 1})
    said = peer.feed(peer.headers(1, [(":method", "GET"), *request_fields()[1:]], last=True))
    assert [len(each.payload) for each in said if each.kind == f.DATA] == [1]
    assert codes(peer.pass_time(bounds.REPLY_PATIENCE_S)) == [("RST_STREAM", f.CANCEL)]
    assert (peer.streams, peer.alarms) == (0, 0)
    assert str(list(peer.terminations.items())[-1][0]) == "stream CANCEL unread"


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_is_answered_to_a_plain_get(method: str, last: bool) -> None:
    peer = Peer(pages={"/healthz": lambda: Page(503, b'{"ok": false}')})
    peer.settle()
    plain = [(":method", method), (":scheme", "http"), (":path", "/healthz?from=x"), (":authority", "t")]
    said = peer.feed(peer.headers(1, plain, last=last))
    assert last or said == []
    said += peer.pass_time(bounds.REPLY_DELAY_S)
    assert peer.read(said[0]) == {
        ":status": "503",
        "content-type": "application/json",
        "content-length": "13",
        "cache-control": "no-store",
    }
    assert b"".join(each.payload for each in said if each.kind == f.DATA) == b'{"ok": false}' * (
        method == "GET"
    )
    assert [each.kind for each in said if each.flags & f.END_STREAM and each.kind != f.RST_STREAM]
    assert codes(said) == ([] if last else [("RST_STREAM", f.NO_ERROR)])
    assert peer.streams == 0


def test_a_page_that_fails_or_finds_no_window_is_no_page_and_other_calls_go_on() -> None:
    def broken() -> Page:
        raise ValueError("broken")

    peer = Peer(pages={"/broken": broken, "/long": lambda: Page(200, b"x" * 70_000)})
    peer.settle()
    plain = [(":method", "GET"), (":scheme", "http"), (":authority", "t")]
    said = peer.feed(peer.headers(1, [*plain, (":path", "/broken")], last=True))
    assert peer.read(said[0])[":status"] == "500"
    said = peer.feed(peer.headers(3, [*plain, (":path", "/long")], last=True))
    assert (peer.read(said[0])[":status"], len(said)) == ("503", 1)
    peer.feed(peer.headers(5))
    assert len(peer.handlers) == 1


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;x=y"])
def test_grpc_by_any_of_its_names_is_taken(kind: str) -> None:
    peer = Peer()
    peer.settle()
    fields = [(name, kind if name == "content-type" else value) for name, value in request_fields()]
    peer.feed(peer.headers(1, fields))
    assert len(peer.handlers) == 1


def test_more_metadata_than_we_take_costs_the_call_and_not_the_connection() -> None:
    for more in ([("a", "x" * 17_000)], [(f"name-{number}", "x") for number in range(60)]):
        peer = Peer()
        peer.settle()
        said = peer.feed(_in_frames(peer, 1, request_fields(PATH, *more)))
        fields = peer.read(said[0])
        assert fields["grpc-status"] == str(RESOURCE_EXHAUSTED)
        assert "16384 bytes in 64 fields" in fields["grpc-message"]
        assert peer.handlers == []
        peer.open(3)
        assert len(peer.handlers) == 1


def _in_frames(peer: Peer, stream: int, fields: list[tuple[str, str]]) -> bytes:
    block = peer.encoder.encode(fields)
    return f.header_block(stream, block, True, bounds.FRAME_BYTES_MAX)


@pytest.mark.parametrize("timeout", ["", "1", "S", "123456789S", "1s", "-1S", "1.5S", "1 S"])
def test_a_timeout_that_is_none_is_named(timeout: str) -> None:
    peer = Peer()
    peer.settle()
    got, text = status_of(peer, peer.headers(1, request_fields(PATH, ("grpc-timeout", timeout)), last=True))
    assert got == INTERNAL
    assert "grpc-timeout" in text


@given(text=st.text(max_size=3_000))
def test_status_messages_of_any_text_come_back(text: str) -> None:
    encoded = headers.percent_encoded(text).decode()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    assert len(encoded) <= bounds.STATUS_MESSAGE_BYTES_MAX + len("%E2%80%A6")
    back = unquote(encoded, errors="strict")
    wanted = text.encode(errors="replace").decode()
    assert back == wanted or (back.endswith("…") and wanted.startswith(back[:-1]))


def test_a_long_status_message_is_cut_at_a_character() -> None:
    encoded = headers.percent_encoded("ü" * 5_000)
    assert encoded.endswith(b"%C3%BC%E2%80%A6")
    assert 4_000 < len(encoded) <= bounds.STATUS_MESSAGE_BYTES_MAX + 9
