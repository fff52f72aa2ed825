"""A block of the event stream as plain rows. Pure.

What does not decode here raises Undecodable. The fold has more checks; what it sets aside for them is known
by its dead letters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import iter_unpack, unpack
from typing import NamedTuple

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import Block, Control, Section


class Undecodable(Exception):
    """The block is no block; nothing of it is folded."""


class EventRow(NamedTuple):
    """One event as it is stored."""

    game_id: str
    topic: str
    generation: int
    """Of the game, as ingest knew it; 0: it did not say."""
    actor_id: str
    actor_key: bytes
    origin: bytes
    """The origin's key, 16 bytes."""
    producer: bool
    """Whether the origin is a producer's."""
    seq: int
    bits: int
    """The value column: 8 bytes as an unsigned number."""
    weight: int
    guest: bool
    label: str
    name: str
    place: int
    """Of the row in its section."""

    @property
    def signed(self) -> int:
        return self.bits - (1 << 64) if self.bits >> 63 else self.bits

    @property
    def tag(self) -> int:
        """What folds tell the origins of one actor apart by."""
        return int.from_bytes(self.origin[8:], "little")

    @property
    def issued_at_s(self) -> int:
        """When the origin was issued."""
        return int.from_bytes(self.origin[:4], "big")


class PlainBlock(NamedTuple):
    stamp_us: int
    """When its first event was received, Unix microseconds."""
    control: Control | None
    """Of a control block; then there are no sections."""
    sections: list[list[EventRow]]


def decode(data: bytes) -> PlainBlock:
    """Raises Undecodable."""
    try:
        block = Block.FromString(data)
        stamp_us = block.stamped_at.ToMicroseconds()
        if block.HasField("control"):
            return PlainBlock(stamp_us, block.control, [])
        if block.HasField("events"):
            return PlainBlock(stamp_us, None, list(_sections(block)))
    except (DecodeError, struct.error, IndexError, ValueError) as error:
        raise Undecodable(f"{type(error).__name__}: {error}") from None
    raise Undecodable("it has neither events nor a control")


def _sections(block: Block) -> Iterator[list[EventRow]]:
    events = block.events
    origins = [key for (key,) in iter_unpack("16s", events.viewers + events.producers)]
    viewers = len(events.viewers) // 16
    names = events.actors.split("\n") if events.actor_keys else []
    keys = [key for (key,) in iter_unpack("16s", events.actor_keys)]
    if len(keys) != len(names):
        raise ValueError(f"{len(keys)} keys of {len(names)} actors")
    columns = zip(
        (at for (at,) in iter_unpack("<H", events.origin)),
        (seq for (seq,) in iter_unpack("<Q", events.origin_seq)),
        (at for (at,) in iter_unpack("<H", events.actor)),
        (bits for (bits,) in iter_unpack("<Q", events.value)),
        strict=True,
    )
    for section in events.sections:
        weights, labels, called = _own_columns(section)
        rows = []
        for place in range(section.rows):
            origin, seq, actor, bits = next(columns, (-1, 0, 0, 0))
            if origin < 0:
                raise ValueError("its sections have more rows than its columns")
            rows.append(
                EventRow(
                    section.game_id,
                    section.topic,
                    section.generation,
                    names[actor],
                    keys[actor],
                    origins[origin],
                    origin >= viewers,
                    seq,
                    bits,
                    weights[place] if weights else 1,
                    section.guests,
                    labels[place] if labels else "",
                    called[place] if called else "",
                    place,
                )
            )
        yield rows
    if next(columns, None) is not None:
        raise ValueError("its columns have more rows than its sections")


def _own_columns(section: Section) -> tuple[tuple[int, ...], list[str], list[str]]:
    count = section.rows
    weights = unpack(f"<{count}I", section.weight) if section.weight else ()
    kinds = section.labels.split("\n")
    labels = [kinds[at] for at in unpack(f"<{count}H", section.label)] if section.label else []
    called = section.names.split("\n") if section.names else []
    return weights, labels, called
