"""A block of the event stream, decoded: its control, or its events in columns, checked.

Nothing of a block is folded unless all of it makes sense: columns of one length, indexes
within their dictionaries, sizes within their bounds. Ingest writes no other blocks, so a
bad one means a fault or a foreign hand, and is set aside for a person (see Partition).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aggregate.keyindex import I64, U64, key_columns
from aggregate.origins import Admitted
from aggregate.rows import U16, U32, Names, Rows
from grandstand.internal.v1.internal_pb2 import Block, Control, Events, Section
from mesh import limits

_STAMP_MIN_S = 1_577_836_800  # 2020
_STAMP_MAX_S = 4_102_444_800  # 2100
REACHED_ROWS = 4_096
"""How many rows of one stamp have an order of their own; stored, so it cannot change."""
_KINDS = ("poll", "board", "pulse", "audience", "metric", "custom")


assert limits.BLOCK_EVENTS_MAX <= REACHED_ROWS
assert _STAMP_MAX_S * 1_000_000 * REACHED_ROWS < 2**64


class BadBlock(Exception):
    """The block does not parse or contradicts itself; nothing of it was folded."""


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """`n` rows; the dictionaries and columns of internal.v1.Events as arrays."""

    viewers: bytes
    producers: bytes
    names: Names
    actor_keys: tuple[U64, U64]
    origin: I64
    origin_seq: U64
    origin_tag: U64
    actor: U16
    value: U64
    sections: list[Section]
    starts: list[int]
    """Where each section's rows begin, and n."""

    def weights(self) -> U32 | None:
        """What each row weighs; None where none says it."""
        if not any(section.weight for section in self.sections):
            return None
        return np.concatenate(
            [
                np.frombuffer(section.weight, dtype="<u4")
                if section.weight
                else np.ones(section.rows, dtype=np.uint32)
                for section in self.sections
            ]
        )

    def guests(self) -> NDArray[np.bool_] | None:
        """Which rows are guests'; None where none is."""
        said = [section.guests for section in self.sections]
        return np.repeat(np.array(said), np.diff(self.starts)) if any(said) else None

    def rows(self, at: int, admitted: Admitted, at_us: int, *, stamped_us: int, block_us: int) -> Rows | None:
        """The admitted rows of section `at`; None if there are none. `block_us`: the block's stamp; the
        other times: see Rows."""
        section, start = self.sections[at], self.starts[at]
        place = np.flatnonzero(admitted.new[start : self.starts[at + 1]])
        if not len(place):
            return None
        row = start + place
        actor = self.actor[row]
        low, high = self.actor_keys
        return Rows(
            game_id=section.game_id,
            topic=section.topic,
            at_us=at_us,
            stamped_us=stamped_us,
            reached=np.uint64(block_us * REACHED_ROWS) + place.astype(np.uint64),
            actor=actor,
            names=self.names,
            keys=np.stack((low[actor], high[actor]), axis=1),
            value=self.value[row],
            origin_tag=self.origin_tag[row],
            origin_seq=self.origin_seq[row],
            origin_before=admitted.before[row],
            label=np.frombuffer(section.label, dtype="<u2")[place] if section.label else None,
            labels=section.labels.split("\n") if section.labels else (),
            payloads=[section.payloads[each] for each in place.tolist()] if section.payloads else (),
            guests=section.guests,
            called=_called(section.names, place) if section.names else (),
        )


def _called(names: str, place: NDArray[np.intp]) -> list[str]:
    split = names.split("\n")
    return [split[each] for each in place.tolist()]


@dataclass(frozen=True, slots=True)
class Decoded:
    at_us: int
    content: Control | DecodedEvents


def decode(data: bytes) -> Decoded:
    """Raises BadBlock, saying what is wrong."""
    if len(data) > limits.BLOCK_BYTES_MAX:
        raise BadBlock(f"{len(data)} bytes; at most {limits.BLOCK_BYTES_MAX} are allowed")
    try:
        block = Block.FromString(data)
    except DecodeError as error:
        raise BadBlock(f"does not parse: {error}") from None
    stamp = block.stamped_at
    if not _STAMP_MIN_S <= stamp.seconds < _STAMP_MAX_S or not 0 <= stamp.nanos < 1_000_000_000:
        raise BadBlock(f"stamped {stamp.seconds} s after 1970, outside 2020 to 2100")
    at_us = stamp.seconds * 1_000_000 + stamp.nanos // 1_000
    match block.WhichOneof("content"):
        case "events":
            return Decoded(at_us, _events(block.events))
        case "control":
            return Decoded(at_us, block.control)
    raise BadBlock("has neither events nor a control")


def _events(events: Events) -> DecodedEvents:
    count = len(events.origin) // 2
    if count > limits.BLOCK_EVENTS_MAX:
        raise BadBlock(f"{count} rows; at most {limits.BLOCK_EVENTS_MAX} are allowed")
    _check_width("origin", events.origin, 2, count)
    _check_width("origin_seq", events.origin_seq, 8, count)
    _check_width("actor", events.actor, 2, count)
    _check_width("value", events.value, 8, count)
    for name, keys in (("viewers", events.viewers), ("producers", events.producers)):
        if len(keys) % 16:
            raise BadBlock(f"{name}: {len(keys)} bytes are no keys of 16")
    names = Names(events.actors)
    _check_width("actor_keys", events.actor_keys, 16, len(names))
    origins = (len(events.viewers) + len(events.producers)) // 16
    origin = np.frombuffer(events.origin, dtype="<u2").astype(np.int64)
    actor = np.frombuffer(events.actor, dtype="<u2")
    if count and (int(origin.max()) >= origins or int(actor.max()) >= len(names)):
        raise BadBlock(f"points outside its {origins} origins or {len(names)} actors")
    starts = [0]
    for section in events.sections:
        _check_section(section)
        starts.append(starts[-1] + section.rows)
    if starts[-1] != count:
        raise BadBlock(f"{count} rows, and sections of {starts[-1]}")
    tags = np.frombuffer(events.viewers + events.producers, dtype="<u8").reshape(-1, 2)[:, 1]
    return DecodedEvents(
        viewers=events.viewers,
        producers=events.producers,
        names=names,
        actor_keys=key_columns(events.actor_keys),
        origin=origin,
        origin_seq=np.frombuffer(events.origin_seq, dtype="<u8"),
        origin_tag=tags[origin],
        actor=actor,
        value=np.frombuffer(events.value, dtype="<u8"),
        sections=list(events.sections),
        starts=starts,
    )


def _check_width(name: str, column: bytes, width: int, count: int) -> None:
    if len(column) != width * count:
        raise BadBlock(f"{name}: {len(column)} bytes for {count} rows of {width}")


def _check_section(section: Section) -> None:
    kind = section.topic.partition("/")[0]
    rows = section.rows
    if kind not in _KINDS:
        raise BadBlock(f"section {section.topic[:80]!r} is of no known kind")
    if not rows:
        raise BadBlock(f"section {section.topic[:80]!r} has no rows")
    labels = rows if kind == "pulse" else 0
    payloads = rows if kind == "custom" else 0
    weights = rows if kind == "poll" and section.weight else 0
    found = (len(section.label), len(section.weight), len(section.payloads))
    if found != (2 * labels, 4 * weights, payloads):
        raise BadBlock(f"section {section.topic[:80]!r} of {rows} rows has columns of {found}")
    if section.names and (kind != "board" or section.names.count("\n") + 1 != rows):
        raise BadBlock(f"section {section.topic[:80]!r} of {rows} rows has names of others")
    if labels and int(np.frombuffer(section.label, dtype="<u2").max()) > section.labels.count("\n"):
        raise BadBlock(f"section {section.topic[:80]!r} points outside its labels")
