"""A block of the event stream, decoded: its control, or its events in columns, checked.

Nothing of a block is folded unless all of it makes sense: columns of one length, indexes
within their dictionaries, sizes within their bounds. Ingest writes no other blocks, so a
bad one means a fault or a foreign hand, and is set aside for a person (see Partition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct, unpack
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from aggregate.keyindex import I64, U64, key_columns
from aggregate.origins import Admitted
from aggregate.rows import U16, U32, Names, Rows
from aggregate.vote_cells import GUEST, FewVotes
from grandstand.internal.v1.internal_pb2 import Block, Control, Events, Section
from mesh import limits

_KEY = Struct("<QQ")
_STAMP_MIN_S = 1_577_836_800  # 2020
_STAMP_MAX_S = 4_102_444_800  # 2100
REACHED_ROWS = 4_096
"""How many rows of one stamp have an order of their own; stored, so it cannot change."""
FEW_ROWS = 100
"""Up to here a row in plain Python costs less than its share of numpy's fixed costs."""
_COLUMNS = ("origin", "origin_seq", "actor", "value")
_KINDS = ("poll", "board", "pulse", "audience", "metric", "custom")


assert limits.BLOCK_EVENTS_MAX <= REACHED_ROWS
assert _STAMP_MAX_S * 1_000_000 * REACHED_ROWS < 2**64


class BadBlock(Exception):
    """The block does not parse or contradicts itself; nothing of it was folded."""


class FewRows(NamedTuple):
    """The columns of a block with few rows, as numbers, which then cost less than arrays."""

    origin: Sequence[int]
    origin_seq: Sequence[int]
    actor: Sequence[int]
    value: Sequence[int]


@dataclass  # not frozen: then each field costs a call
class DecodedEvents:
    """`n` rows; the dictionaries and columns of internal.v1.Events, checked. The arrays are made when they
    are first asked for."""

    events: Events
    viewers: bytes
    producers: bytes
    names: Names
    sections: list[Section]
    starts: list[int]
    """Where each section's rows begin, and n."""
    few: FewRows | None
    """None of a block with more than FEW_ROWS."""

    @cached_property
    def actor_keys(self) -> tuple[U64, U64]:
        return key_columns(self.events.actor_keys)

    @cached_property
    def origin(self) -> I64:
        return np.frombuffer(self.events.origin, dtype="<u2").astype(np.int64)

    @cached_property
    def origin_seq(self) -> U64:
        return np.frombuffer(self.events.origin_seq, dtype="<u8")

    @cached_property
    def origin_tag(self) -> U64:
        return key_columns(self.viewers + self.producers)[1][self.origin]

    @cached_property
    def actor(self) -> U16:
        return np.frombuffer(self.events.actor, dtype="<u2")

    @cached_property
    def value(self) -> U64:
        return np.frombuffer(self.events.value, dtype="<u8")

    def votes(self, numbers: Sequence[int], new: Sequence[bool]) -> FewVotes:
        """Of few rows, those that are new and whose section has a number: its poll's."""
        few = self.few
        assert few is not None
        sections, starts = self.sections, self.starts
        if len(sections) == len(new):
            number: list[int] = [*numbers]
        else:
            number = [each for at, each in enumerate(numbers) for _ in range(starts[at], starts[at + 1])]
        weight = [1] * len(new)
        for at, section in enumerate(sections):
            if section.weight:
                weight[starts[at] : starts[at + 1]] = unpack(f"<{section.rows}I", section.weight)
            if section.guests:
                for row in range(starts[at], starts[at + 1]):
                    weight[row] |= GUEST
        keys = list(_KEY.iter_unpack(self.events.actor_keys))
        tags = [tag for _, tag in _KEY.iter_unpack(self.viewers + self.producers)]
        found = FewVotes(
            number,
            [keys[actor] for actor in few.actor],
            few.value,
            weight,
            [tags[origin] for origin in few.origin],
            few.origin_seq,
        )
        if all(new) and min(number, default=0) >= 0:
            return found
        return found.some([at for at, each in enumerate(number) if each >= 0 and new[at]])

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


class Decoded(NamedTuple):
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
    columns = events.origin, events.origin_seq, events.actor, events.value
    count = len(columns[0]) // 2
    if count > limits.BLOCK_EVENTS_MAX:
        raise BadBlock(f"{count} rows; at most {limits.BLOCK_EVENTS_MAX} are allowed")
    if [*map(len, columns)] != [2 * count, 8 * count, 2 * count, 8 * count]:
        raise _bad_width(columns, count)
    viewers, producers = events.viewers, events.producers
    if len(viewers) % 16 or len(producers) % 16:
        raise BadBlock(f"viewers, producers: {len(viewers)} and {len(producers)} bytes are no keys of 16")
    names, actor_keys = Names(events.actors), events.actor_keys
    if len(actor_keys) != 16 * len(names):
        raise BadBlock(f"actor_keys: {len(actor_keys)} bytes for {len(names)} names")
    origins = (len(viewers) + len(producers)) // 16
    few = None
    if count <= FEW_ROWS:
        narrow, wide = f"<{count}H", f"<{count}Q"
        few = FewRows(*map(unpack, (narrow, wide, narrow, wide), columns))
        last = max(few.origin, default=-1), max(few.actor, default=-1)
    else:
        origin, actor = (np.frombuffer(column, dtype="<u2") for column in (columns[0], columns[2]))
        last = int(origin.max()), int(actor.max())
    if last[0] >= origins or last[1] >= len(names):
        raise BadBlock(f"points outside its {origins} origins or {len(names)} actors")
    starts = [0]
    for section in events.sections:
        starts.append(starts[-1] + _check_section(section))
    if starts[-1] != count:
        raise BadBlock(f"{count} rows, and sections of {starts[-1]}")
    return DecodedEvents(events, viewers, producers, names, list(events.sections), starts, few)


def _bad_width(columns: Sequence[bytes], count: int) -> BadBlock:
    found = ", ".join(f"{name}: {len(column)} bytes" for name, column in zip(_COLUMNS, columns, strict=True))
    return BadBlock(f"{found} for {count} rows of 2, 8, 2 and 8")


def _check_section(section: Section) -> int:
    """How many rows it has."""
    topic, rows = section.topic, section.rows
    kind = topic.partition("/")[0]
    if kind == "poll" and rows and not (section.weight or section.label or section.payloads or section.names):
        return rows
    if kind not in _KINDS:
        raise BadBlock(f"section {topic[:80]!r} is of no known kind")
    if not rows:
        raise BadBlock(f"section {topic[:80]!r} has no rows")
    labels = rows if kind == "pulse" else 0
    payloads = rows if kind == "custom" else 0
    weights = rows if kind == "poll" and section.weight else 0
    found = (len(section.label), len(section.weight), len(section.payloads))
    if found != (2 * labels, 4 * weights, payloads):
        raise BadBlock(f"section {topic[:80]!r} of {rows} rows has columns of {found}")
    if section.names and (kind != "board" or section.names.count("\n") + 1 != rows):
        raise BadBlock(f"section {topic[:80]!r} of {rows} rows has names of others")
    if labels and int(np.frombuffer(section.label, dtype="<u2").max()) > section.labels.count("\n"):
        raise BadBlock(f"section {topic[:80]!r} points outside its labels")
    return rows
