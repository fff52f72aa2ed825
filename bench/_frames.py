"""HTTP/2 frames and gRPC messages as bytes (RFC 9113, RFC 7541): what a load generator needs of them. Pure.

Header fields are written as literals that are never indexed, without Huffman coding (RFC 7541,
6.2.3): one encoded block then serves every stream of a connection, and there is no table to keep.

Invariant: `split(b"".join(frame(...) ...))` gives back the frames, wherever the bytes were cut;
what is not yet a whole frame stays for the next read.

Rejected: h2 and hpack. They keep state for each stream and cost more for a frame than the service
that is measured; this generator must cost a fraction of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5
WINDOW_DEFAULT = 65_535
WINDOW_MAX = 2**31 - 1
FRAME_BYTES_DEFAULT = 16_384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NEVER_INDEXED = 0x10

Frame = tuple[int, int, int, int, int]
"""Kind, flags, stream, and where its payload begins and ends in the buffer."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Raises ValueError for a payload of 2^24 bytes or more."""
    length = len(payload)
    if length >= 1 << 24:
        raise ValueError(f"a payload of {length} bytes; a frame holds less than 2^24")
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def split(buffer: bytes, at: int = 0) -> Iterator[Frame]:
    """The whole frames in `buffer` from `at` on. The last one's end is where the rest begins."""
    unpack = _HEAD.unpack_from
    last = len(buffer) - 9
    while at <= last:
        high, low, kind, flags, stream = unpack(buffer, at)
        begin = at + 9
        at = begin + (high << 8 | low)
        if at > last + 9:
            return
        yield kind, flags, stream & 0x7FFFFFFF, begin, at


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """Raises struct.error for a payload that is no whole number of settings."""
    return dict(_SETTING.iter_unpack(payload))


def window_update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


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
