"""The key index gives every key one number, whatever comes together in one call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregate import keyindex
from aggregate.keyindex import KeyIndex, joined_keys, key_columns

# Few different keys, some alike in one half: they meet in the table.
KEYS = st.tuples(st.integers(0, 40), st.sampled_from([0, 1, 2**64 - 1])).map(
    lambda pair: pair[0].to_bytes(8, "little") + pair[1].to_bytes(8, "little")
)
CALLS = st.lists(st.lists(KEYS, max_size=80), max_size=12)


def halves(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


@given(CALLS, st.integers(0, 2**64 - 1))
def test_equal_keys_have_one_number_and_different_keys_have_different_ones(
    calls: list[list[bytes]], salt: int
) -> None:
    index = KeyIndex(salt)
    numbers: dict[bytes, int] = {}
    for at, keys in enumerate(calls):
        if at % 2:
            index.reserve(len(keys))
            found = [index.row_of(*halves(key)) for key in keys]
        else:
            found = index.rows(*key_columns(b"".join(keys))).tolist()
        for key, number in zip(keys, found, strict=True):
            assert numbers.setdefault(key, number) == number
    assert sorted(numbers.values()) == list(range(len(index)))
    assert len(index) == len(numbers)
    for key, number in numbers.items():
        assert joined_keys(index.low, index.high)[16 * number : 16 * number + 16] == key


@given(CALLS, st.lists(KEYS, max_size=30))
def test_a_look_up_adds_nothing(calls: list[list[bytes]], asked: list[bytes]) -> None:
    index = KeyIndex()
    known: dict[bytes, int] = {}
    for keys in calls:
        known.update(zip(keys, index.rows(*key_columns(b"".join(keys))).tolist(), strict=True))
    before = len(index)
    found = index.find(*key_columns(b"".join(asked))).tolist()
    assert found == [known.get(key, -1) for key in asked]
    assert found == [index.find_one(*halves(key)) for key in asked]
    assert len(index) == before


def test_numbers_stay_while_the_table_grows() -> None:
    rng = np.random.default_rng(7)
    index = KeyIndex(salt=3)
    low, high = rng.integers(0, 2**63, (2, 30_000), dtype=np.uint64)
    numbers: list[int] = []
    for at in range(0, 30_000, 997):
        some = low[at : at + 997], high[at : at + 997]
        if at % 2:
            numbers += index.rows(*some).tolist()
        else:
            index.reserve(len(some[0]))
            numbers += [index.row_of(int(one), int(other)) for one, other in zip(*some, strict=True)]
    assert (index.find(low, high) == numbers).all()
    assert len(index) == 30_000


def test_a_table_that_grows_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    index, each, put = KeyIndex(salt=255), 100, KeyIndex._put
    moved: list[int] = []

    def counted(self: KeyIndex, slots: NDArray[np.int32], bits: int, first: int, past: int) -> None:
        moved.append(past - first)
        put(self, slots, bits, first, past)

    monkeypatch.setattr(KeyIndex, "_put", counted)
    monkeypatch.setattr(keyindex, "_STEPWISE_FROM", 1)
    low, high = rng.integers(0, 2**63, (2, 40_000), dtype=np.uint64)
    numbers: list[int] = []
    for at in range(0, len(low), each):
        numbers += index.rows(low[at : at + each], high[at : at + each]).tolist()
    assert max(moved) < 3_000, "keys moved at once, of 40,000"
    assert (index.find(low, high) == numbers).all()


def test_keys_that_share_their_low_bits_are_found_all_the_same() -> None:
    index = KeyIndex()
    low = np.arange(5_000, dtype=np.uint64) << np.uint64(40)
    high = np.zeros(5_000, dtype=np.uint64)
    assert sorted(index.rows(low, high).tolist()) == list(range(5_000))
