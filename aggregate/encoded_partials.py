"""Partials in protobuf's wire format, put together without making the messages. Pure.

A flush of many small games encodes hundreds of them each second, and what is stored and what is published is
the same bytes. What is always the same of a topic is encoded once; the bytes are those that protobuf would
write, field by field in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import Stage
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from mesh.wire_format import LENGTH_DELIMITED, VARINT, packed, sized, tag, varint


class EncodedPartial(NamedTuple):
    """A partition's share of a topic."""

    game_id: str
    topic: str
    encoded: bytes


_SEQUENCE, _STAGE, _CHANGED_AT_S = (
    tag(Partial, name, VARINT) for name in ("sequence", "stage", "changed_at_s")
)
_VOTES, _WEIGHTS, _GUEST_VOTES = (
    tag(TallyPartial, name, LENGTH_DELIMITED) for name in ("votes", "weights", "guest_votes")
)
_VOTERS, _GUEST_VOTERS, _VOIDED = (
    tag(TallyPartial, name, VARINT) for name in ("voters", "guest_voters", "voided")
)


def identity(game_id: str, topic: str, partition: int) -> bytes:
    """The fields that say what it is a partial of."""
    return Partial(game_id=game_id, topic=topic, partition=partition).SerializeToString()


def moment(sequence: int, stage: Stage, changed_at_s: int) -> bytes:
    """The fields that say of when it is."""
    found = _SEQUENCE + varint(sequence) if sequence else b""
    if stage:
        found += _STAGE + varint(stage)
    return found + _CHANGED_AT_S + varint(changed_at_s) if changed_at_s else found


def value_tag(field: str) -> bytes:
    """What the field that holds the value begins with."""
    return tag(Partial, field, LENGTH_DELIMITED)


def options(option_ids: Sequence[str]) -> bytes:
    """The fields of a TallyPartial that stand first and never change."""
    return TallyPartial(option_ids=option_ids).SerializeToString()


def tally(
    options: bytes,
    votes: Sequence[int],
    voters: int,
    weights: Sequence[int],
    guest_votes: Sequence[int],
    guest_voters: int,
    voided: int,
) -> bytes:
    """A TallyPartial. `weights`: empty without; `guest_votes`: not said without guests."""
    column = packed(votes)
    found = b"".join((options, _VOTES, varint(len(column)), column)) if votes else options
    if voters:
        found += _VOTERS + varint(voters)
    if weights:
        found += _WEIGHTS + sized(packed(weights))
    if guest_voters:
        if guest_votes:
            found += _GUEST_VOTES + sized(packed(guest_votes))
        found += _GUEST_VOTERS + varint(guest_voters)
    if voided:
        found += _VOIDED + varint(voided)
    return found
