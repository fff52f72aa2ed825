"""What a partition's state in Redis consists of, and whether all of it is there and of one moment. Pure.

The manifest lists every key of the state with the sequence of the flush that wrote it last and its
length. Each key carries that sequence itself, where its readers do not meet it:

    log:*      a string     each piece ends with field 15, a fixed64 (9 bytes), which protobuf skips
    rank:*     a zset       the member `!`, scored beyond every score of a board
    all else   a hash       the field `!at`, a name that no topic and no actor has

A key that was lost, or that is older than its manifest, or a manifest that is older than its keys,
does not fit. Rejected: checksums of whole values, which cost a flush what the value is long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import PartitionState
from mesh.redis.layout import MANIFEST_STATE as STATE

AT = b"!at"
"""The field of a hash, the manifest's too, that carries its sequence."""
MEMBER = b"!"
SCORES_END = 2**54
"""Scores of a board are within 2^53. Above 2^54 doubles are 4 apart."""
TAIL_BYTES = 9
_TAIL = struct.Struct("<BQ")
_FIELD_15 = 15 << 3 | 1

Kind = Literal["log", "ranking", "hash"]


class KeyState(NamedTuple):
    """What a key of the state is like: the sequence it carries, None for none, and its length."""

    sequence: int | None
    length: int


class ManifestMismatch(ValueError):
    """What is stored is not the state that the manifest lists."""


def kind_of(name: str) -> Kind:
    """`name`: the key without the partition's tag."""
    if name.startswith("log:"):
        return "log"
    return "ranking" if name.startswith("rank:") else "hash"


def tail(sequence: int) -> bytes:
    """What each piece of a log ends with."""
    return _TAIL.pack(_FIELD_15, sequence)


def score(sequence: int) -> str:
    """What a ranking's `!` is scored."""
    return str(SCORES_END + 4 * sequence)


def held_log(log: bytes) -> KeyState:
    if len(log) < TAIL_BYTES:
        return KeyState(None, len(log))
    field, sequence = _TAIL.unpack(log[-TAIL_BYTES:])
    return KeyState(sequence if field == _FIELD_15 else None, len(log))


def held_hash(fields: Mapping[bytes, bytes]) -> KeyState:
    at = fields.get(AT, b"")
    return KeyState(int(at) if at.isdigit() else None, len(fields))


def held_ranking(members: Sequence[tuple[bytes, float]]) -> KeyState:
    at = next((score for member, score in members if member == MEMBER), None)
    return KeyState(None if at is None else sequence_of_score(at), len(members))


def carried(name: str, raw: bytes) -> int | None:
    """The sequence in what such a key carries, as aggregate.partition_scripts reads it."""
    match kind_of(name):
        case "log":
            return held_log(raw).sequence
        case "ranking":
            return sequence_of_score(float(raw)) if raw else None
    return int(raw) if raw.isdigit() else None


def sequence_of_score(score: float) -> int:
    return (int(score) - SCORES_END) // 4


@dataclass(frozen=True, slots=True)
class Manifest:
    state: PartitionState
    keys: Mapping[str, KeyState]
    """By the key's name without the partition's tag."""

    def __contains__(self, name: str) -> bool:
        return name in self.keys


def parse(fields: Mapping[bytes, bytes], applied: int) -> Manifest:
    """The manifest of the state at `applied`, from its hash. Raises ManifestMismatch."""
    if STATE not in fields:
        raise ManifestMismatch("the state has no manifest: it is lost, or an older release wrote the state")
    try:
        state = PartitionState.FromString(fields[STATE])
        keys = {}
        for name, entry in fields.items():
            if not name.startswith(b"!"):
                sequence, _, length = entry.partition(b" ")
                keys[name.decode()] = KeyState(int(sequence), int(length))
    except (DecodeError, ValueError) as error:
        raise ManifestMismatch(f"the manifest does not decode: {error}") from None
    carried = held_hash(fields).sequence
    if not applied == state.applied == carried:
        raise ManifestMismatch(f"the manifest is of {state.applied} ({carried}), the state of {applied}")
    return Manifest(state, keys)


def check(listed: Mapping[str, KeyState], found: Mapping[str, KeyState]) -> None:
    """Whether the keys found are those listed. Raises ManifestMismatch, naming the first that is not."""
    for name, held in listed.items():
        here = found.get(name, KeyState(None, 0))
        if here != held:
            was = "is lost" if not here.length else f"is of {here.sequence} and {here.length} long"
            raise ManifestMismatch(f"{name} {was}; the manifest says {held.sequence} and {held.length}")


def chunks(names: Iterable[str], size: int) -> list[list[str]]:
    listed = list(names)
    return [listed[at : at + size] for at in range(0, len(listed), size)]
