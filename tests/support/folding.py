"""Drives one fold as a partition does: rows in, changes into a store, a fold made of the store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from aggregate.fold import Append, Change, Drop, Fold, FoldState, Rank, Replace, SetFields, Unrank
from aggregate.rows import Names, Rows
from grandstand.wire import ids

NOW_S = 1_790_000_000
NOW_US = NOW_S * 1_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a fold's topic: the value as an int, or a float for a metric."""

    actor: str
    value: float = 0
    label: str = ""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The events of one block, and its stamp."""

    at_us: int
    events: tuple[Told, ...]
    guests: bool = False
    """Whether all of them are guests'."""


def rows_of(block: Blocked, topic: str = "x") -> Rows:
    actors = list(dict.fromkeys(e.actor for e in block.events))
    labels = list(dict.fromkeys(e.label for e in block.events))
    place = {actor: i for i, actor in enumerate(actors)}
    real = any(isinstance(e.value, float) for e in block.events)
    at = np.array([place[e.actor] for e in block.events], np.uint16)
    keys = np.frombuffer(b"".join(map(ids.actor_key, actors)), "<u8").reshape(-1, 2)
    values = np.array([e.value for e in block.events], np.float64 if real else np.int64)
    return Rows(
        game_id="game",
        topic=topic,
        at_us=block.at_us,
        stamped_us=block.at_us,
        reached=np.uint64(block.at_us * 4_096) + np.arange(len(at), dtype=np.uint64),
        actor=at,
        names=Names("\n".join(actors)),
        keys=keys[at],
        value=values.view(np.uint64),
        origin_tag=np.zeros(len(at), np.uint64),
        origin_seq=np.arange(1, len(at) + 1, dtype=np.uint64),
        origin_before=np.zeros(len(at), np.uint64),
        label=np.array([labels.index(e.label) for e in block.events], np.uint16),
        labels=labels,
        payloads=[e.payload for e in block.events],
        guests=block.guests,
    )


@dataclass(slots=True)
class Store:
    """What Redis would hold of a fold."""

    logs: dict[str, bytes] = field(default_factory=dict)

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case Append(part, log):
                    self.logs[part] = self.logs.get(part, b"") + log
                case Replace(part, log):
                    self.logs[part] = log
                case Drop(part):
                    self.logs.pop(part, None)
                case SetFields() | Rank() | Unrank():
                    raise AssertionError("only boards have hashes and rankings")

    def state(self) -> FoldState:
        return FoldState(logs=dict(self.logs))


Make = Callable[[FoldState], Fold]


def folded(make: Make, blocks: Iterable[Blocked]) -> Fold:
    fold = make(FoldState())
    for block in blocks:
        fold.fold(rows_of(block))
    return fold


def assert_same(one: Fold, other: Fold) -> None:
    assert one.partial() == other.partial()
    assert one.encode() == other.encode()
    assert one.parts() == other.parts()


def check_stores(make: Make, blocks: Sequence[Blocked], flushed_after: set[int], taken_at: int) -> None:
    """Flushes after some of the blocks; a store that was there from the start, and one filled by
    `encode` after block `taken_at`, both hold the fold. Whoever takes over goes on as the fold does."""
    fold, always, later = make(FoldState()), Store(), Store()
    for i, block in enumerate(blocks):
        before = fold.partial(), fold.encode()
        changed = fold.fold(rows_of(block))
        # What is not told as changed is not flushed.
        assert changed or (fold.partial(), fold.encode()) == before
        if i == taken_at:
            later.apply(fold.encode())
        if i in flushed_after:
            delta = fold.delta()
            always.apply(delta)
            if i >= taken_at:
                later.apply(delta)
            assert fold.delta() == []
            assert_same(make(always.state()), fold)
    always.apply(delta := fold.delta())
    if taken_at < len(blocks):
        later.apply(delta)
        assert_same(make(later.state()), fold)
    assert_same(taken_over := make(always.state()), fold)
    assert taken_over.delta() == []
    assert_same(folded(make, blocks), fold)
    half = len(blocks) // 2
    taker = Store()
    taker.apply(folded(make, blocks[:half]).encode())
    other = make(taker.state())
    for block in blocks[half:]:
        other.fold(rows_of(block))
    assert_same(other, fold)


def split(blocks: Sequence[Blocked], shares: int) -> list[list[Blocked]]:
    """The blocks of each of `shares` partitions: actors are spread, stamps kept."""
    found: list[list[Blocked]] = []
    for share in range(shares):
        own = (
            Blocked(b.at_us, tuple(e for e in b.events if ids.stable_hash(e.actor) % shares == share))
            for b in blocks
        )
        found.append([b for b in own if b.events])
    return found


def histories(
    events: st.SearchStrategy[Told], *, span_s: int, blocks_max: int = 12
) -> st.SearchStrategy[list[Blocked]]:
    """Blocks whose stamps mostly grow, by anything up to `span_s`, and now and then go back."""
    step_us = st.one_of(
        st.sampled_from([0, 1, 250_000, 1_000_000]),
        st.integers(0, span_s).map(lambda step_s: step_s * 1_000_000),
        st.integers(-span_s, span_s).map(lambda step_s: step_s * 1_000_000),
    )
    block = st.tuples(step_us, st.lists(events, min_size=1, max_size=8))
    return st.lists(block, max_size=blocks_max).map(
        lambda drawn: [
            Blocked(at_us, tuple(told))
            for at_us, (_, told) in zip(
                itertools.accumulate((step for step, _ in drawn), initial=NOW_US), drawn, strict=False
            )
        ]
    )
