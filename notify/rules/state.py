"""What a rule goes on from, as of its last look at a topic. Pure.

It is never changed, only replaced, and stored as a RuleState (grandstand.internal.v1) with its firing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from grandstand.internal.v1.internal_pb2 import RuleState


class State(NamedTuple):
    """The fields are those of RuleState."""

    season: int = 0
    reached: int = 0
    reached_before: int = 0
    leader: str = ""
    candidate: str = ""
    candidate_since_us: int = 0
    first: tuple[str, ...] = ()
    told: tuple[tuple[int, int], ...] = ()
    """Digests, and when, Unix seconds."""


BEGINS = State()
Seen = list[tuple[int, int]]
"""Partitions and sequences of the results that a state was judged by."""


def encode(state: State, seen: Iterable[tuple[int, int]]) -> bytes:
    stored = RuleState(
        season=state.season,
        reached=state.reached,
        reached_before=state.reached_before,
        leader=state.leader,
        candidate=state.candidate,
        candidate_since_us=state.candidate_since_us,
        first=state.first,
        told=[digest for digest, _ in state.told],
        told_at_s=[at_s for _, at_s in state.told],
    )
    for partition, sequence in seen:
        stored.seen.add(partition=partition, sequence=sequence)
    return stored.SerializeToString()


def decode(data: bytes) -> tuple[State, Seen]:
    """Raises DecodeError."""
    stored = RuleState.FromString(data)
    state = State(
        stored.season,
        stored.reached,
        stored.reached_before,
        stored.leader,
        stored.candidate,
        stored.candidate_since_us,
        tuple(stored.first),
        tuple(zip(stored.told, stored.told_at_s, strict=False)),
    )
    return state, [(position.partition, position.sequence) for position in stored.seen]
