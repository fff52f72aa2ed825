"""Parts of messages in protobuf's wire format (protobuf.dev/programming-guides/encoding). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2


def _encoded(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


_SMALL = [_encoded(value) for value in range(0x800)]


def varint(value: int) -> bytes:
    return _SMALL[value] if value < 0x800 else _encoded(value)


def tag(message: type[Message], field: str, wire_type: int) -> bytes:
    """What a field of that name begins with."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


def packed(values: Sequence[int]) -> bytes:
    """As the content of a repeated field of varints."""
    most = max(values, default=0)
    if most < 0x80:
        return bytes(values)
    return b"".join(map(varint if most >= 0x800 else _SMALL.__getitem__, values))


def sized(content: bytes) -> bytes:
    """As the content of a field that is LENGTH_DELIMITED."""
    return varint(len(content)) + content
