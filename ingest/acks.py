"""Acks as bytes: what goes down a Publish stream more often than anything else. Pure.

An ack is encoded field by field (protobuf's wire format: a tag, then a varint, or a length and its bytes)
and put together here; made as messages it costs ten times as much, and an event of a lone sender costs little
more than its ack. tests/ingest/test_acks.py compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Ack

Receipt = tuple[str, int, Position]
"""Of a relayed event: its origin and number, and where it is stored."""

# Of fields that hold bytes: PublishResponse.ack; Ack.positions and .receipts; Receipt.origin_id, .position.
_ACK, _POSITIONS, _RECEIPTS = b"\x12", b"\x12", b"\x1a"
_ORIGIN_ID, _POSITION = b"\x0a", b"\x1a"
# Of fields that are varints: Ack.origin_seq; Receipt.origin_seq.
_SEQ, _ORIGIN_SEQ = b"\x08", b"\x10"
_ONE_BYTE = tuple(bytes((number,)) for number in range(0x80))


def encoded(
    origin_seq: int,
    positions: Iterable[Position],
    receipts: Sequence[Receipt],
    shed: Sequence[int],
    total: int,
) -> bytes:
    """A PublishResponse with an Ack. `shed`: numbers that were shed; `total`: how many ever were."""
    ack = _SEQ + _varint(origin_seq) if origin_seq else b""
    for position in positions:
        ack += _POSITIONS + _sized(position.SerializeToString())
    if receipts:
        ack += _encoded_receipts(receipts)
    if total:
        ack += Ack(shed_origin_seqs=shed, shed=total).SerializeToString()
    return _ACK + _sized(ack)


def _encoded_receipts(receipts: Sequence[Receipt]) -> bytes:
    parts: list[bytes] = []
    last, where = None, b""
    for origin_id, origin_seq, position in receipts:
        if position is not last:  # those of one block have one
            last, where = position, _POSITION + _sized(position.SerializeToString())
        origin = origin_id.encode()
        receipt = _ORIGIN_ID + _ONE_BYTE[len(origin)] + origin + _ORIGIN_SEQ + _varint(origin_seq) + where
        parts += _RECEIPTS, _sized(receipt)
    return b"".join(parts)


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    octets = bytearray()
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
