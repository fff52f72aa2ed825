"""I2 and I7: what anti-replay windows take is bounded, and what leaves is never counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds
from aggregate.origin_retention import OriginRetention
from aggregate.origins import OriginWindows
from aggregate.partition import Loaded, Partition
from bench._rows import Row
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import ids
from tests.support import blocks
from tests.support.blocks import NOW_S, origin
from tests.support.partitions import Kept, fold

ROW = 32
# Of viewers' origins: 20 at most, 15 until it is announced that some leave, 10 are kept.
MAX, HIGH, KEPT = 20 * ROW, 15 * ROW, 10 * ROW
NOTICE_S = bounds.ORIGINS_NOTICE_S


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX", MAX), ("HIGH", HIGH), ("KEPT", KEPT)):
        monkeypatch.setattr(bounds, f"ORIGINS_BYTES_{name}", value)


def reacting() -> Partition:
    partition = Partition(0, Loaded())
    fold(partition, blocks.game_control(blocks.game()))
    return partition


def reactions(numbers: Sequence[int], at_s: float, issued_s: float | None = None, seq: int = 1) -> Block:
    """One of each of these origins, issued at that second, else at the block's."""
    made = [origin(n, now_s=at_s if issued_s is None else issued_s) for n in numbers]
    return blocks.block([blocks.reaction("fire", 1, each, seq) for each in made], at_s)


def counted(partition: Partition) -> int:
    pulse: Any = partition._table.topics[blocks.GAME, "pulse/cheer"].fold
    return sum(pulse.partial().totals)


def told(partition: Partition, block: Block) -> list[str]:
    letters = partition.fold(partition.folded + 1, block.SerializeToString())
    return [letter.reason for letter in letters]


def test_those_issued_first_are_announced_and_leave_after_the_notice() -> None:
    partition = reacting()
    for minute in range(8):
        assert told(partition, reactions([2 * minute, 2 * minute + 1], NOW_S + 60 * minute)) == []
    # 16 of them: the 5 newest minutes stay.
    last = NOW_S + 60 * 7
    assert partition.origins_from_s == NOW_S + 60 * 2 + 1
    late = reactions([0], last + NOTICE_S - 1, issued_s=NOW_S, seq=2)
    assert told(partition, late) == [], "what its ingest took before it heard of it counts"
    assert told(partition, reactions([90], last + NOTICE_S)) == []
    assert len(partition._origins) == 11
    again = reactions([0], last + NOTICE_S + 1, issued_s=NOW_S, seq=2)
    assert told(partition, again) == [
        f"1 events of origins issued before {partition.origins_from_s}, whose windows have left"
    ]
    assert told(partition, reactions([1], last + NOTICE_S + 1, issued_s=NOW_S, seq=9)) != []
    stays = reactions([14], last + NOTICE_S + 1, issued_s=last, seq=2)
    assert told(partition, stays) == []
    assert len(partition._origins) == 11


def test_at_the_bound_they_leave_at_once() -> None:
    partition = reacting()
    assert told(partition, reactions(range(16), NOW_S)) == []
    assert told(partition, reactions(range(20, 30), NOW_S + 1)) == []
    assert len(partition._origins) == 10
    assert partition.origins_from_s == NOW_S + 1
    # A crowd of one second leaves as a whole, for its members cannot be told apart by their time.
    assert told(partition, reactions(range(40, 70), NOW_S + 2)) == []
    assert len(partition._origins) == 0
    assert len(told(partition, reactions([40], NOW_S + 3, issued_s=NOW_S + 2, seq=2))) == 1


def test_a_producers_origin_takes_what_its_window_does() -> None:
    windows = OriginWindows()
    wide = ids.origin_key(origin(1, producer=True, now_s=NOW_S + 5))
    narrow = [ids.origin_key(origin(n, now_s=NOW_S + n)) for n in range(10)]
    everything = np.arange(11, dtype=np.int64)
    windows.admit(b"".join(narrow), wide, everything, np.ones(11, dtype=np.uint64))
    whole = windows.encoded_bytes
    assert windows.second_that_keeps(whole) == 0
    assert windows.second_that_keeps(whole - 1) == NOW_S + 1
    assert windows.second_that_keeps(5 * ROW) == NOW_S + 6, "the producer's does not fit"
    assert windows.second_that_keeps(0) == NOW_S + 10


def test_the_announced_second_never_goes_back() -> None:
    retention = OriginRetention(from_s=1_000)
    assert not retention.step(5_000, HIGH + 1, lambda _: 900)
    assert retention.step(5_000 + NOTICE_S, ROW, lambda _: 0)
    assert (retention.from_s, retention.announced_s) == (1_000, 1_000)


events = st.tuples(
    st.integers(0, 7),  # whose
    st.integers(0, 30),  # how long before the block its origin was issued, in tens of seconds
    st.integers(1, 3),  # number
)
streams = st.lists(
    st.tuples(st.lists(events, min_size=1, max_size=12), st.integers(0, 90), st.booleans()), max_size=14
)


@given(streams)
def test_no_event_counts_twice_the_bound_holds_and_every_owner_decides_alike(
    stream: list[tuple[list[tuple[int, int, int]], int, bool]],
) -> None:
    straight, taken_over, kept = reacting(), Partition(0, Loaded()), Kept()
    fold_control = blocks.game_control(blocks.game()).SerializeToString()
    taken_over.fold(1, fold_control)
    at_s, known = float(NOW_S), set[tuple[str, int]]()
    for rows, after_s, moves in stream:
        at_s += after_s
        made: list[Row] = []
        for who, tens_s, seq in rows:
            issued = origin(who, now_s=at_s // 10 * 10 - 10 * tens_s)
            made.append(blocks.reaction("fire", 1, issued, seq))
            known.add((issued, seq))
        block = blocks.block(made, at_s)
        told(straight, block)
        told(taken_over, block)
        assert straight._origins.encoded_bytes <= MAX
        if moves and (flush := taken_over.take_flush()) is not None:
            kept.apply(flush)
            taken_over = Partition(0, kept.loaded(), salt=7)
        assert counted(taken_over) == counted(straight)
        assert taken_over._retention == straight._retention
        assert len(taken_over._origins) == len(straight._origins)
    assert counted(straight) <= len(known), "each identity at most once"
