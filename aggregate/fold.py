"""What a fold is: one partition's share of one topic, and how its state is kept.

A fold is a pure, synchronous core. It folds the admitted rows of a block, says its share
as a `partial` (absolute; partials of all partitions merge into the topic's value, see
mesh.merge), and says its state in two ways: `encode`, all of it, and `delta`, what changed
since the last delta. For any history, state decoded from `encode()` followed by later
deltas equals the fold itself: that is what makes a takeover exact (I4).

    rows ──fold──▶ state ──partial──▶ Partial ──merge (gateway, Read)──▶ TopicResult
                     └──delta / encode──▶ changes ──one atomic flush──▶ Redis ──decode──▶ state

State is kept in **parts**, each with a name of its own ("" if there is one only; a board
has one for each season). A part is a log (bytes: appended to, or replaced when that is
shorter), or a hash with a ranking (a sorted set) beside it.

Rejected: one Redis command for each changed row. It costs Valkey three microseconds a row;
a log costs some ten nanoseconds. Boards pay it, because their rankings are read from Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import Message

from aggregate.rows import Rows


@dataclass(frozen=True, slots=True)
class Append:
    """Adds to a part's log."""

    part: str
    log: bytes


@dataclass(frozen=True, slots=True)
class Replace:
    """Becomes the part's log."""

    part: str
    log: bytes


@dataclass(frozen=True, slots=True)
class SetFields:
    """Sets fields of a part's hash: name, value, name, value, ..."""

    part: str
    flat: Sequence[str | bytes]


@dataclass(frozen=True, slots=True)
class DeleteFields:
    """Deletes fields of a part's hash."""

    part: str
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rank:
    """Puts members into a part's ranking: score, member, score, member, ..."""

    part: str
    flat: Sequence[str | bytes]


@dataclass(frozen=True, slots=True)
class Unrank:
    """Takes members out of a part's ranking. Comes before the Rank that replaces them."""

    part: str
    members: Sequence[str]


@dataclass(frozen=True, slots=True)
class Drop:
    """The part is gone: its log, its hash and its ranking."""

    part: str


Change = Append | Replace | SetFields | DeleteFields | Rank | Unrank | Drop


@dataclass(frozen=True, slots=True)
class FoldState:
    """A stored fold, part by part. Rankings are not read back: hashes hold what they are made of."""

    logs: Mapping[str, bytes] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)


class Fold(Protocol):
    """One partition's share of one topic. Made by `from_state(definition, FoldState())` at first."""

    def fold(self, rows: Rows) -> bool:
        """Folds the rows of one block; True if the partial changed. Never raises for what a
        client may have sent: rows it cannot count change nothing."""
        ...

    def advance(self, at_us: int) -> bool:
        """Lets the stream's time pass to `at_us`, Unix microseconds, which is never before the time of
        any rows; True if the partial changed. Called before `fold`, and for the topic's controls."""
        ...

    def partial(self) -> Message:
        """The share, absolute: a TallyPartial, BoardPartial, PulsePartial, ..."""
        ...

    def parts(self) -> list[str]:
        """The names of the parts that hold state now."""
        ...

    def delta(self) -> list[Change]:
        """What changed since the last delta, which this takes away."""
        ...

    def encode(self) -> list[Change]:
        """The whole state, as changes to nothing; takes nothing away."""
        ...
