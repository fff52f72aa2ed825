"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6). Pure.

Frames are read where they lie: `HEAD` and `HEAD_AND_PREFIX` are unpacked from the received chunk at an
offset, so that a frame costs one call. The second reads, in the same call, the five octets of a gRPC
message's prefix that a DATA frame mostly begins with; for any other frame they mean nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_DEFAULT = 65_535
WINDOW_MAX = 2**31 - 1
ID_MASK = 0x7FFFFFFF
HEAD_BYTES = 9
PREFIX_BYTES = 5

HEAD = struct.Struct(">HBBBI")
"""Length (its upper 16 bits, its lower 8), type, flags, stream with the reserved bit."""
HEAD_AND_PREFIX = struct.Struct(">HBBBIBI")
"""The same, then the compressed flag and the length of a gRPC message."""
PREFIX = struct.Struct(">BI")
_SETTING = struct.Struct(">HI")
_GOAWAY = struct.Struct(">II")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """`payload`: less than 2^24 bytes."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """In the order they appear; `payload` is a whole number of them."""
    return list(_SETTING.iter_unpack(payload))


def window_update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def rst_stream(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: int, text: str) -> bytes:
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + text.encode(errors="replace"))


def header_block(stream: int, block: bytes, end_stream: bool, frame_bytes_max: int) -> bytes:
    """HEADERS, and CONTINUATION if the block does not fit one frame."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_bytes_max:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [frame(HEADERS, flags, stream, block[:frame_bytes_max])]
    for at in range(frame_bytes_max, len(block), frame_bytes_max):
        is_last = at + frame_bytes_max >= len(block)
        part = block[at : at + frame_bytes_max]
        parts.append(frame(CONTINUATION, END_HEADERS if is_last else 0, stream, part))
    return b"".join(parts)
