"""The rows of one topic in one block, as a fold gets them: columns, not objects.

Every row here was admitted by its origin's anti-replay window (I2), in the order of the
block. Columns are numpy arrays of one length; names are made into strings only when a
fold asks for them, because most rows of most blocks (votes) need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


class Names:
    """A dictionary of names, split when it is first asked for one."""

    __slots__ = ("_joined", "_names")

    def __init__(self, joined: str) -> None:
        self._joined = joined
        self._names: list[str] | None = None

    @property
    def names(self) -> list[str]:
        if self._names is None:
            self._names = self._joined.split("\n") if self._joined else []
        return self._names

    def __len__(self) -> int:
        return self._joined.count("\n") + 1 if self._joined else 0


@dataclass(slots=True)
class Rows:
    """`n` events of one topic.

    `at_us` is when they happened: the block's stamp, as aggregate.watermark clamps it; Unix
    microseconds. `stamped_us` is the stamp where the partition's time has reached it: it may lie
    any time back. A fold knows no other time (I4).
    """

    game_id: str
    topic: str
    at_us: int
    stamped_us: int
    reached: U64
    """What orders equal scores, n: the block's stamp in microseconds, as it is, times 4,096, plus the
    row's place in its section. Greater than 2^53: no double holds it."""
    actor: U16
    """Index into `names`, n."""
    names: Names
    keys: U64
    """The actors' keys (grandstand.wire.ids.actor_key), n × 2."""
    value: U64
    """The block's value column as raw 64 bits, n; see `points` and `reals`."""
    origin_tag: U64
    """A part of the origin's random bits, n: equal for events of one origin."""
    origin_seq: U64
    """n"""
    origin_before: U64
    """The highest number its origin had in the partition before this block, n."""
    label: U16 | None = None
    """Pulses: index into `labels`, n."""
    labels: Sequence[str] = ()
    weight: U32 | None = None
    """Weighted polls, n."""
    payloads: Sequence[bytes] = field(default=())
    """Custom topics, n."""
    guests: bool = False
    """Audiences: whether all of them are guests."""
    called: Sequence[str] = ()
    """Boards: what the actor of each row is called, "" where nobody says it, n; empty if nobody does."""

    def __len__(self) -> int:
        return len(self.value)

    def is_behind(self, at: int) -> bool:
        """Whether row `at` came behind a later number of its own origin: in an earlier block, or here, of
        the same actor."""
        sequence = self.origin_seq[at]
        earlier = (self.actor[:at] == self.actor[at]) & (self.origin_tag[:at] == self.origin_tag[at])
        return bool(sequence < self.origin_before[at] or (self.origin_seq[:at][earlier] > sequence).any())

    def actors(self) -> list[str]:
        """The actor of each row."""
        return list(map(self.names.names.__getitem__, self.actor.tolist()))

    def points(self) -> list[int]:
        """The value column of scores, reactions and presences: signed whole numbers."""
        found: list[int] = self.value.view(np.int64).tolist()
        return found
