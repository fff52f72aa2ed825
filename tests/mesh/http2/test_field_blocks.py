"""Header blocks decoded by memory: they say what hpack says, for every peer and whatever was sent before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import example, given
from hypothesis import strategies as st

from grandstand.client import open_channel
from mesh.http2 import bounds, field_blocks
from mesh.http2 import frames as f
from mesh.http2.errors import ConnectionBroken
from mesh.http2.header_blocks import HeaderBlocks
from mesh.http2.headers import Fields
from tests.mesh.http2.test_envoy import PUBLISH, behind_envoy
from tests.support.games import run
from tests.support.http2_peer import split
from tests.support.http2_service import ECHO, Echo, serving

Pair = tuple[bytes, bytes]
NAMES = st.sampled_from([b":path", b"content-type", b"user-agent", b"authorization", b"x-y", b"x" * 200])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=12)


def by_hpack(block: bytes) -> list[Pair] | None:
    """What hpack makes of a block without a table; None: it is none."""
    decoder = Decoder(max_header_list_size=bounds.HEADER_LIST_BYTES_HARD)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except Exception:
        return None


def pairs(fields: Fields) -> list[Pair]:
    return [(field.name, field.value) for field in fields.all]


def by_memory(block: bytes) -> list[Pair] | None:
    try:
        return pairs(field_blocks.decode(block))
    except HPACKError:
        return None


@given(FIELDS, st.booleans(), st.sets(NAMES))
def test_what_an_encoder_without_a_table_writes_is_read(
    fields: list[Pair], huffman: bool, secret: set[bytes]
) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.encode([])
    block = encoder.encode([(name, value, name in secret) for name, value in fields], huffman=huffman)
    assert field_blocks.is_alone(block)
    for _ in range(4):
        assert by_memory(block) == fields


BYTES = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([0x00, 0x01, 0x0F, 0x10, 0x1F, 0x40, 0x41, 0x7F, 0x80, 0x82, 0xBD, 0xBE, 0xFF]),
        max_size=12,
    ).map(bytes),
)


@given(BYTES)
@example(b"\x40\x01a\x01b")
@example(b"\x0f\x80\x00\x01b")
@example(b"\x00\x01a\x7f\x81\x80\x80\x80\x80\x01")
@example(b"\xff\x80")
@example(b"\x82\x20")
@example(b"\x00\x7f\xff\xff\xff\xff\xff\xff")
def test_of_any_bytes_they_and_hpack_say_the_same(block: bytes) -> None:
    if field_blocks.is_alone(block):
        assert by_memory(block) == by_hpack(block)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"


def traced_block(context: str, *, huffman: bool, more: list[Pair] | None = None) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.encode([])
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"te", b"trailers")]
    fields += [(b"content-type", b"application/grpc"), (b"traceparent", context.encode()), *(more or [])]
    return encoder.encode([(name, value, True) for name, value in fields], huffman=huffman)


@pytest.mark.parametrize("huffman", [False, True])
def test_blocks_that_differ_in_their_trace_alone_are_decoded_once_and_each_has_its_own(huffman: bool) -> None:
    behind: list[Pair] = [(b"authorization", b"Bearer x" + bytes([48 + huffman])), (b"x-y", b"z")]
    found = []
    for number in range(20):
        flags = "01" if number % 3 == 0 else "00"
        context = f"00-{number + 1:032x}-{number + 1:016x}-{flags}"
        request = field_blocks.decode(traced_block(context, huffman=huffman, more=behind)).request()
        assert request.path == "/a.B/C"
        assert dict(request.metadata)["x-y"] == "z"
        assert request.metadata.authorizations == [f"Bearer x{int(huffman)}"]
        # Of what is not sampled nobody asks for more.
        assert request.metadata.contexts[0] in ({context} if flags == "01" or not number else {"", context})
        found.append(request)
    assert found[5].path is found[6].path
    assert "traceparent" not in dict(found[6].metadata), "it was not decoded"
    client = [(b"grandstand-traceparent", f"{TRACE}00".encode())]
    for _ in range(4):
        request = field_blocks.decode(traced_block(f"{TRACE}00", huffman=huffman, more=client)).request()
        assert request.metadata.contexts == (f"{TRACE}00", f"{TRACE}00"), "a client's is linked to the edge's"


@pytest.mark.parametrize("huffman", [False, True])
def test_a_value_that_looks_like_a_trace_hides_no_field(huffman: bool) -> None:
    """The cut would end within the field behind it."""
    looks = b"a\x10\x0btraceparent\x37" + b"0" * 20
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.encode([])
    for number in range(4):
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"x-y", looks)]
        fields += [(b"x-forwarded-for", f"10.0.0.{number}".encode()), (b"x-z", b"0" * 80)]
        block = encoder.encode([(name, value, True) for name, value in fields], huffman=huffman)
        assert by_memory(block) == fields == by_hpack(block)


def test_a_block_that_sets_the_size_of_the_table_is_for_hpack() -> None:
    assert not field_blocks.is_alone(b"\x20\x82")
    assert not field_blocks.is_alone(b"\x3f\x01")
    assert field_blocks.is_alone(b"\x40\x01a\x01b")
    assert field_blocks.is_alone(b"")


def test_the_same_block_is_the_same_object_and_a_long_one_is_not_kept() -> None:
    short = Encoder().encode([(b"x-token", b"a" * 100)], huffman=False)
    first, second, third = (field_blocks.decode(bytes(bytearray(short))) for _ in range(3))
    assert pairs(first) == pairs(second)
    assert first is not second, "not kept before it came twice"
    assert second is third
    long = Encoder().encode([(b"x-token", b"a" * bounds.BLOCK_BYTES_REMEMBERED)], huffman=False)
    assert field_blocks.decode(long) is not field_blocks.decode(long)
    assert pairs(field_blocks.decode(long)) == pairs(field_blocks.decode(long))


def test_a_list_that_is_too_long_ends_the_connection() -> None:
    field = b"\x00\x01a\x7f\x81\x06" + b"v" * 896
    with pytest.raises(OversizedHeaderListError):
        field_blocks.decode(field * 100)
    blocks = HeaderBlocks()
    blocks.begin(f.END_HEADERS, 1, b"\x20")
    with pytest.raises(ConnectionBroken) as told:
        blocks.begin(f.END_HEADERS, 3, field * 100)
    assert told.value.code == f.ENHANCE_YOUR_CALM


def test_what_a_peer_with_a_table_says_is_read_with_it() -> None:
    """It has one before it knows our SETTINGS, then gives it up, and is understood if it takes it again."""
    encoder, blocks = Encoder(), HeaderBlocks()
    request = [(b":method", b"POST"), (b"x-a", b"1"), (b"x-b", b"2")]

    def said() -> tuple[bytes, object]:
        block = encoder.encode(request)
        found = blocks.begin(f.END_HEADERS, 1, block)
        assert found is not None
        assert pairs(found[2]) == request
        return block, found[2]

    said()
    assert len(said()[0]) == 3, "all from the table"
    encoder.header_table_size = 0
    assert said()[0][0] == 0x20
    block, _ = said()
    assert len(block) > 3
    assert said() == said(), "by memory"
    encoder.header_table_size = 4096
    said()
    block, first = said()
    assert len(block) == 3
    assert said()[1] is not first


def test_an_envoy_in_front_writes_its_blocks_out_and_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[bytes] = []
    decode = field_blocks.decode

    def kept(block: bytes) -> Fields:
        blocks.append(block)
        return decode(block)

    monkeypatch.setattr(field_blocks, "decode", kept)
    metadata = (("authorization", "Bearer a.token.of-letters-that-huffman-would-shorten"),)

    async def scenario() -> None:
        async with (
            behind_envoy(tmp_path) as (_, _, address),
            open_channel(address, own_connection=True) as channel,
        ):
            for _ in range(20):
                call = channel.stream_stream(PUBLISH)(metadata=metadata)
                await call.done_writing()
                assert await call.code() == grpc.StatusCode.OK
            own = [block for block in blocks if PUBLISH.encode() in block]
            assert len(own) > 10, "all but the first of its connections, from before it knew our SETTINGS"
            assert all(metadata[0][1].encode() in block for block in own)
            assert len(set(own)) == 1

    run(scenario())


def test_a_peer_is_told_to_have_no_table() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (_, address):
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f.PREFACE + f.settings({}))
            first = split(await reader.readexactly(f.HEAD_BYTES + 24))[0]
            assert dict(f.read_settings(first.payload))[f.HEADER_TABLE_SIZE] == 0
            writer.close()

    run(scenario())
