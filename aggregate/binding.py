"""Whether a state was folded from the stream that is there, and what to go on from. Pure.

A state is bound to the block it was folded up to: sequence, digest, and when the stream stored it. A
stream that lost its tail (a power cut, a restored backup) and grew again holds another block there, and
one that has not grown again holds none; the sequence alone would tell neither.
"""

from __future__ import annotations

from enum import Enum, auto

from grandstand.internal.v1.internal_pb2 import BlockIdentity, PartitionState

_TIMES_APART_US = 1_000


class Fit(Enum):
    """How the block that a state is bound to compares with what the stream holds there."""

    SAME = auto()
    GONE = auto()
    """Nothing of the partition is there any more, though the stream goes on behind it: purged by hand, and no
    reason to refuse."""
    OTHER = auto()
    """The stream was cut before it, and grew again."""
    BEYOND = auto()
    """The stream ends before it."""


class Choice(Enum):
    """What the fold of a partition goes on from."""

    STATE = auto()
    CHECKPOINT = auto()
    FIRST_BLOCK = auto()
    UNREADABLE = auto()
    """Blocks are purged, and no checkpoint stands for them: whatever is folded would count wrongly."""


def fit(state: PartitionState, there: BlockIdentity | None, last: int, first: int = 0) -> Fit:
    """`there`: the block at the state's bound sequence; `last`: the stream's last sequence.
    `first`: that of the partition's first block, 0 without one; it counts only where nothing is there.

    A purge takes a partition's blocks from the first one on. So if an earlier one is still there, the bound
    block was not purged: the stream was cut before it, and what stood there since was another partition's.
    """
    bound = state.bound
    if bound.sequence > last:
        return Fit.BEYOND
    if bound.sequence != state.applied:
        return Fit.OTHER
    if there is None:
        return Fit.OTHER if 0 < first < bound.sequence else Fit.GONE
    return Fit.SAME if is_same(bound, there) else Fit.OTHER


def is_same(bound: BlockIdentity, there: BlockIdentity | None) -> bool:
    """Whether `there` is the block that a state is bound to."""
    if there is None or there.sequence != bound.sequence or there.digest != bound.digest:
        return False
    return abs(there.stored_at_us - bound.stored_at_us) <= _TIMES_APART_US


def fits(found: Fit) -> bool:
    return found in (Fit.SAME, Fit.GONE)


def choose(*, applied: int, is_well: bool, floor: int, newest: int, newest_is_well: bool) -> Choice:
    """`applied`: of the state in Redis, 0 without one. `floor`: blocks below it are purged. `newest`: the
    newest checkpoint's sequence, 0 without one, and unless the state is gone on from. Well: complete, and of
    the stream that is there."""
    if is_well and applied and applied >= floor:
        return Choice.STATE
    if newest_is_well and newest >= max(1, floor):
        return Choice.CHECKPOINT
    return Choice.UNREADABLE if floor else Choice.FIRST_BLOCK
