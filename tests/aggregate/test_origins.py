"""I2: each origin's number is admitted once, as RFC 6479's window says, in any company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.origins import OriginWindows
from aggregate.window import ReplayWindow
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from tests.support.blocks import NOW_S, origin

VIEWERS = [ids.origin_key(origin(n)) for n in range(6)]
PRODUCERS = VIEWERS  # the same bytes, another kind

# (is it a producer's, which, its number): near each other, and far enough apart to leave windows.
ROWS = st.tuples(
    st.booleans(),
    st.integers(0, 5),
    st.one_of(st.integers(0, 140), st.integers(4_000, 4_200), st.integers(2**62, 2**62 + 70)),
)
BLOCKS = st.lists(st.lists(ROWS, max_size=60), max_size=6)
Row = tuple[bool, int, int]


def admit(origins: OriginWindows, rows: list[Row]) -> list[bool]:
    return judged(origins, rows)[0]


def judged(origins: OriginWindows, rows: list[Row]) -> tuple[list[bool], list[int]]:
    """Which are new, and their origins' highest numbers before; by either way, as the rows have it, so that
    one table knows both."""
    column = [which + (6 if producer else 0) for producer, which, _ in rows]
    sequence = [sequence for _, _, sequence in rows]
    keys = b"".join(VIEWERS), b"".join(PRODUCERS)
    if sum(sequence) % 2:
        return origins.admit_few(*keys, column, sequence)
    found = origins.admit(*keys, np.array(column, dtype=np.int64), np.array(sequence, dtype=np.uint64))
    return found.new.tolist(), found.before.tolist()


class Oracle:
    """A set of all numbers seen, and the greatest."""

    def __init__(self) -> None:
        self._seen: dict[tuple[bool, int], set[int]] = {}
        self._highest: dict[tuple[bool, int], int] = {}

    def admit(self, row: Row) -> bool:
        producer, which, sequence = row
        key = producer, which
        seen = self._seen.setdefault(key, set())
        width = wire_bounds.PRODUCER_WINDOW if producer else wire_bounds.VIEWER_WINDOW
        if sequence < 1 or sequence in seen or sequence <= self._highest.get(key, 0) - width:
            return False
        seen.add(sequence)
        self._highest[key] = max(self._highest.get(key, 0), sequence)
        return True

    def give_back(self, rows: list[Row]) -> None:
        for producer, which, sequence in rows:
            self._seen[producer, which].discard(sequence)


@given(BLOCKS)
def test_a_number_is_admitted_once_and_never_from_behind_the_window(blocks: list[list[Row]]) -> None:
    origins, oracle = OriginWindows(), Oracle()
    for rows in blocks:
        assert admit(origins, rows) == [oracle.admit(row) for row in rows]


@given(BLOCKS, st.integers(0, 6), st.booleans())
def test_a_window_read_back_admits_what_the_window_itself_admits(
    blocks: list[list[Row]], taken_at: int, whole: bool
) -> None:
    origins = OriginWindows()
    log = b""
    for at, rows in enumerate(blocks):
        admit(origins, rows)
        if at == taken_at and whole:
            log = origins.encode()
        else:
            log += origins.delta()
    read_back = OriginWindows(log, salt=99)
    again = [row for rows in blocks for row in rows] + [(True, 1, 5_000), (False, 1, 5_000)]
    assert admit(read_back, again) == admit(origins, again)


@given(BLOCKS, st.lists(ROWS, max_size=20))
def test_asking_whether_a_number_was_seen_changes_nothing(blocks: list[list[Row]], asked: list[Row]) -> None:
    origins, oracle = OriginWindows(), Oracle()
    for rows in blocks:
        admit(origins, rows)
        for row in rows:
            oracle.admit(row)
    seen = origins.seen(
        np.array([producer for producer, _, _ in asked], dtype=np.bool_),
        b"".join((PRODUCERS if producer else VIEWERS)[which] for producer, which, _ in asked),
        np.array([sequence for _, _, sequence in asked], dtype=np.uint64),
    ).tolist()
    for row, was_seen in zip(asked, seen, strict=True):
        if row[2] >= 1:
            probe = Oracle()
            probe._seen = {key: set(value) for key, value in oracle._seen.items()}
            probe._highest = dict(oracle._highest)
            assert was_seen == (not probe.admit(row))


@given(BLOCKS, st.data())
def test_what_is_given_back_is_admitted_once_more_and_nothing_else_is(
    blocks: list[list[Row]], data: st.DataObject
) -> None:
    """While its origin's window holds it; read back from the log too."""
    origins, oracle = OriginWindows(), Oracle()
    log = b""
    for rows in blocks:
        new = [row for row, is_new in zip(rows, admit(origins, rows), strict=True) if is_new]
        for row in rows:
            oracle.admit(row)
        given = data.draw(st.lists(st.sampled_from(new), unique=True)) if new else []
        column = np.array([which + (6 if producer else 0) for producer, which, _ in given], dtype=np.int64)
        sequence = np.array([sequence for _, _, sequence in given], dtype=np.uint64)
        origins.give_back(b"".join(VIEWERS), b"".join(PRODUCERS), column, sequence)
        oracle.give_back(given)
        log += origins.delta()
    again = [row for rows in blocks for row in rows]
    expected = [oracle.admit(row) for row in again]
    read_back = OriginWindows(log, salt=3)
    assert admit(origins, again) == expected
    assert admit(read_back, again) == expected


@given(BLOCKS)
def test_the_highest_number_before_a_block_is_told_with_each_row(blocks: list[list[Row]]) -> None:
    origins = OriginWindows()
    highest: dict[tuple[bool, int], int] = {}
    for rows in blocks:
        assert judged(origins, rows)[1] == [highest.get((row[0], row[1]), 0) for row in rows]
        for producer, which, number in rows:
            highest[producer, which] = max(highest.get((producer, which), 0), number)


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=80), st.integers(0, 3))
def test_a_run_is_admitted_as_its_numbers_one_by_one(sequences: list[int], sort_first: int) -> None:
    if sort_first:
        sequences = sorted(set(sequences))
    together, few, one_by_one = ReplayWindow(4_096), ReplayWindow(4_096), ReplayWindow(4_096)
    for start in range(0, len(sequences), 30):
        run = sequences[start : start + 30]
        found = together.admit_all(np.array(run, dtype=np.uint64)).tolist()
        assert found == few.admit_few(run) == [one_by_one.admit(sequence) for sequence in run]
    assert (together.highest, together.seen) == (one_by_one.highest, one_by_one.seen)
    assert (few.highest, few.seen) == (one_by_one.highest, one_by_one.seen)


def test_dead_origins_are_forgotten_and_the_living_are_not() -> None:
    origins = OriginWindows()
    old_viewer, old_producer = (
        ids.new_origin(producer=producer, now_s=NOW_S - 90_000, entropy=bytes(12))
        for producer in (False, True)
    )
    keys = [ids.origin_key(origin(n)) for n in range(3)]
    viewers = b"".join([ids.origin_key(old_viewer), *keys])
    producers = ids.origin_key(old_producer)
    column = np.array([0, 1, 2, 3, 4], dtype=np.int64)
    sequence = np.full(5, 7, dtype=np.uint64)
    assert origins.admit(viewers, producers, column, sequence).new.all()
    assert not origins.forget(NOW_S - 90_000)
    assert origins.forget(NOW_S - 80_000)
    assert len(origins) == 3
    assert origins.admit(viewers, producers, column, sequence).new.tolist() == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert len(OriginWindows(origins.encode())) == 5


@pytest.mark.parametrize("log", [b"\x0a\xff", b"not a log"])
def test_a_log_that_is_none_is_refused(log: bytes) -> None:
    with pytest.raises(Exception, match=r"(?i)pars|decod"):
        OriginWindows(log)
