"""What a block says, read a second time: from the comments of internal.proto, without numpy."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import ids


class Row(NamedTuple):
    game_id: str
    topic: str
    origin_id: str
    origin_seq: int
    actor_id: str
    value: int | float
    label: str
    weight: int
    payload: bytes
    guest: bool
    generation: int


def rows_in(data: bytes) -> Sequence[Row]:
    """The events of a message; none of a control, or of what is not a block."""
    try:
        events = Block.FromString(data).events
    except DecodeError:
        return ()
    if not events.sections:
        return ()
    origins = [ids.origin_of(key, producer=False) for key in _split(events.viewers)]
    origins += [ids.origin_of(key, producer=True) for key in _split(events.producers)]
    names = events.actors.split("\n")
    origin = [each for (each,) in struct.iter_unpack("<H", events.origin)]
    seqs = [each for (each,) in struct.iter_unpack("<Q", events.origin_seq)]
    actor = [each for (each,) in struct.iter_unpack("<H", events.actor)]
    rows: list[Row] = []
    for section in events.sections:
        first, count = len(rows), section.rows
        kind = section.topic.partition("/")[0]
        form = {"poll": "<Q", "metric": "<d"}.get(kind, "<q")
        values = [v for (v,) in struct.iter_unpack(form, events.value[8 * first : 8 * (first + count)])]
        kinds = section.labels.split("\n")
        labels = [kinds[at] for (at,) in struct.iter_unpack("<H", section.label)] or [""] * count
        weights = [each for (each,) in struct.iter_unpack("<I", section.weight)] or [0] * count
        payloads = list(section.payloads) or [b""] * count
        for n in range(count):
            at = first + n
            rows.append(
                Row(
                    section.game_id,
                    section.topic,
                    origins[origin[at]],
                    seqs[at],
                    names[actor[at]],
                    values[n],
                    labels[n],
                    weights[n],
                    payloads[n],
                    section.guests,
                    section.generation,
                )
            )
    return rows


def _split(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]
