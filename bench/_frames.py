"""What a load generator needs of HTTP/2 and gRPC beside the frames themselves (`mesh.http2.frames`). Pure.

Header fields are written as literals that are never indexed, without Huffman coding (RFC 7541, 6.2.3):
a block then depends on nothing that was sent before it, and there is no table to keep.

Invariant: `split` gives back the frames that were written, wherever the bytes were cut; what is not
yet a whole frame stays for the next read.

Rejected: h2 and hpack. They keep state for each stream and cost more for a frame than the service that is
measured; this generator must cost a fraction of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.http2.frames import HEAD, HEAD_BYTES, ID_MASK

_NEVER_INDEXED = 0x10

Frame = tuple[int, int, int, int, int]
"""Kind, flags, stream, and where its payload begins and ends in the buffer."""


def split(buffer: bytes) -> Iterator[Frame]:
    """The whole frames in `buffer`. The last one's end is where the rest begins."""
    at = 0
    unpack = HEAD.unpack_from
    last = len(buffer) - HEAD_BYTES
    while at <= last:
        high, low, kind, flags, stream = unpack(buffer, at)
        begin = at + HEAD_BYTES
        at = begin + (high << 8 | low)
        if at > last + HEAD_BYTES:
            return
        yield kind, flags, stream & ID_MASK, begin, at


def header_block(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(bytes([_NEVER_INDEXED]) + _text(name) + _text(value) for name, value in fields)


def _text(value: str) -> bytes:
    """A string literal: its length as an integer with a prefix of seven bits, then its bytes."""
    data = value.encode()
    return integer(len(data), 7) + data


def integer(value: int, prefix_bits: int) -> bytes:
    """RFC 7541, 5.1, with the bits before the prefix 0."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([value])
    value -= most
    octets = bytearray([most])
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def message(payload: bytes) -> bytes:
    """A gRPC message: not compressed, its length, its bytes."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole gRPC messages in `data`, and what is left. Raises ValueError for a compressed one."""
    found = []
    at = 0
    while len(data) - at >= 5:
        if data[at]:
            raise ValueError("a compressed gRPC message; none was asked for")
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
        if end > len(data):
            break
        found.append(data[at + 5 : end])
        at = end
    return found, data[at:]
