"""A topic as it is shown: its state, its encoding, and what makes it of the state before. Pure.

What is shown is never changed, only replaced. Of a tally, as most updates are of one, only the numbers are
summed at first: its delta is put together from them, in protobuf's wire format, and says the same as
grandstand.wire.delta does. Its state is made when somebody needs all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import Stage
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.delta_pb2 import OptionDelta, TallyDelta, TopicDelta
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire.delta import diff
from mesh.merge import TopicMerge
from mesh.merge.tally import TallySum, sum_tallies, sum_tally
from mesh.wire_format import LENGTH_DELIMITED, VARINT, sized, tag, varint

_TOPIC = tag(TopicDelta, "topic", LENGTH_DELIMITED)
_CURSOR = tag(TopicDelta, "cursor", LENGTH_DELIMITED)
_STAGE = tag(TopicDelta, "stage", VARINT)
_TALLY = tag(TopicDelta, "tally", LENGTH_DELIMITED)
_OPTIONS = tag(TallyDelta, "options", LENGTH_DELIMITED)
_VOTERS, _GUEST_VOTERS, _VOIDED = (
    tag(TallyDelta, name, VARINT) for name in ("voters", "guest_voters", "voided")
)
_PLACE, _VOTES, _WEIGHT, _GUEST_VOTES = (
    tag(OptionDelta, name, VARINT) for name in ("place", "votes", "weight", "guest_votes")
)
_PARTITION = tag(Position, "partition", VARINT)
_SEQUENCE = tag(Position, "sequence", VARINT)


class Shown:
    """A topic's state."""

    __slots__ = ("_encoded", "_state")

    def __init__(self, state: TopicState | None) -> None:
        self._state = state
        self._encoded: bytes | None = None

    @property
    def state(self) -> TopicState:
        assert self._state is not None
        return self._state

    @property
    def stage(self) -> Stage:
        return self.state.stage

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = self.state.SerializeToString()
        return self._encoded

    def delta(self, before: Shown) -> bytes | None:
        """An encoded TopicDelta; None: send the whole state."""
        delta = diff(before.state, self.state)
        return None if delta is None else delta.SerializeToString()


class ShownTally(Shown):
    """A poll's."""

    __slots__ = ("_merge", "_positions", "_stage", "_tally")

    def __init__(self, merge: TopicMerge, partials: Sequence[Partial], partitions: int) -> None:
        """`partials`: those that the topic has now."""
        self._state = self._encoded = None
        self._merge = merge
        if len(partials) == partitions == 1:
            (partial,) = partials
            self._tally = sum_tally(partial.tally)
            self._positions = [(partial.partition, partial.sequence)]
            self._stage = partial.stage
        else:
            self._tally = sum_tallies([partial.tally for partial in partials])
            self._positions = [(partial.partition, partial.sequence) for partial in partials]
            self._stage = merge.stage(partitions)

    @property
    def state(self) -> TopicState:
        if self._state is None:
            self._state = TopicMerge.tally_state(self._merge.topic, self._positions, self._stage, self._tally)
        return self._state

    @property
    def stage(self) -> Stage:
        return self._stage

    def delta(self, before: Shown) -> bytes | None:
        if not isinstance(before, ShownTally):
            return super().delta(before)
        moved = _moved(before._positions, self._positions)
        changed = _changed(before._tally, self._tally)
        if moved is None or changed is None:
            return super().delta(before)
        return b"".join((_topic(self._merge.topic), moved, _STAGE, varint(self._stage), changed))


@lru_cache(maxsize=4096)
def _topic(name: str) -> bytes:
    return _TOPIC + sized(name.encode())


def _moved(before: Sequence[tuple[int, int]], now: Sequence[tuple[int, int]]) -> bytes | None:
    """The positions that moved or are new, encoded; None if a delta cannot say it."""
    if len(now) == len(before) == 1 and now[0][0] == before[0][0]:
        return b"" if before == now else _cursor(*now[0])
    if before == now:
        return b""
    known = dict(before)
    if not known.keys() <= {partition for partition, _ in now}:
        return None
    return b"".join([_cursor(*each) for each in now if known.get(each[0]) != each[1]])


@lru_cache(maxsize=256)
def _cursor(partition: int, sequence: int) -> bytes:
    """The same for all topics that a block changed."""
    return _CURSOR + sized(position(partition, sequence))


def position(partition: int, sequence: int) -> bytes:
    """An encoded Position."""
    return (_PARTITION + varint(partition) if partition else b"") + _SEQUENCE + varint(sequence)


def _changed(before: TallySum, now: TallySum) -> bytes | None:
    """The value of the delta: nothing if it is the same; None if the options are others."""
    ids_before, votes_before, weights_before, guests_before, *rest_before = before
    ids, votes, weights, guests, *rest = now
    if ids_before != ids:
        return None
    found = b""
    is_plain = weights is votes and weights_before is votes_before and guests == guests_before
    for place, count in enumerate(votes):
        if count == votes_before[place] and (
            is_plain or (weights[place] == weights_before[place] and guests[place] == guests_before[place])
        ):
            continue
        number = varint(count)
        weight = number if is_plain else varint(weights[place])
        option = b"".join((_PLACE, varint(place), _VOTES, number, _WEIGHT, weight))
        if guests[place]:
            option += _GUEST_VOTES + varint(guests[place])
        found += _OPTIONS + sized(option)
    if not found and rest_before == rest:
        return b""
    voters, guest_voters, voided = rest
    if voters:
        found += _VOTERS + varint(voters)
    if guest_voters:
        found += _GUEST_VOTERS + varint(guest_voters)
    if voided:
        found += _VOIDED + varint(voided)
    return _TALLY + sized(found)
