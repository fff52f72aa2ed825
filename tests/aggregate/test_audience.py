"""Audiences equal a naive count while exact, estimate within their stated error above, and fade with time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate import cardinality
from aggregate.audience import Audience
from aggregate.fold import Append, Fold, FoldState, Replace
from grandstand.aggregate.v1.aggregate_pb2 import AudienceResult
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import AudienceLog, AudienceRows
from grandstand.wire import ids
from mesh import limits
from mesh.merge.audience import audience_moves_at_s, merge_audience
from tests.support.folding import (
    NOW_S,
    NOW_US,
    Blocked,
    Store,
    Told,
    assert_same,
    check_stores,
    folded,
    histories,
    rows_of,
    split,
)

HERE, GONE = PRESENCE_STATE_HERE, PRESENCE_STATE_GONE
PRESENCES = st.builds(
    Told,
    actor=st.sampled_from([f"actor{i}" for i in range(12)]),
    value=st.builds(
        lambda state, source: state + 256 * source,
        st.sampled_from([HERE, HERE, HERE, GONE, 0, 7, -1]),
        st.sampled_from([0, 0, 1, 2**32 - 1]),
    ),
)
CROWDED = st.builds(
    Told,
    actor=st.just("ann"),
    value=st.builds(
        lambda state, source: state + 256 * source, st.sampled_from([HERE, GONE]), st.integers(0, 7)
    ),
)
HISTORIES = histories(PRESENCES, span_s=60)
LATER = st.integers(0, 60)


def make(state: FoldState) -> Audience:
    return Audience.from_state(catalog.Game(game_id="game", audience=True), state)


IN_BOTH_WAYS = pytest.mark.parametrize("exact_max", [20_000, 2], ids=["exact", "sketched above two"])


@contextlib.contextmanager
def exact_up_to(actors: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate_bounds, "AUDIENCE_EXACT_MAX", actors)
        yield


def naive(blocks: list[Blocked], now_s: float, exact_max: int = 20_000) -> tuple[int, int, bool]:
    """Viewers, uniques, and whether they are exact, one event at a time. Sketches of a dozen
    actors err by less than a half; what they cannot do is to take out who is GONE."""
    last: dict[tuple[str, int], tuple[int, bool]] = {}
    exact = True
    for block in blocks:
        for event in block.events:
            said = event.actor, int(event.value) >> 8
            state = int(event.value) & 0xFF
            known_us, was_here = last.get(said, (0, False))
            if state == HERE and (block.at_us >= known_us or not (exact or was_here)):
                last[said] = block.at_us, True
            elif state == GONE and block.at_us >= known_us and (exact or not was_here):
                last[said] = block.at_us, False
        exact = exact and len({actor for actor, _ in last}) <= exact_max
    pane_s = limits.AUDIENCE_PANE_S
    viewers = {
        actor
        for (actor, _), (at_us, is_here) in last.items()
        if is_here and at_us // 1_000_000 // pane_s * pane_s + pane_s + limits.PRESENCE_S > now_s
    }
    return len(viewers), len({actor for actor, _ in last}), exact


def newest_s(blocks: list[Blocked]) -> float:
    return max((block.at_us / 1e6 for block in blocks), default=NOW_S)


@IN_BOTH_WAYS
@given(blocks=HISTORIES, later_s=LATER)
def test_an_audience_equals_a_naive_count_at_any_later_moment(
    exact_max: int, blocks: list[Blocked], later_s: int
) -> None:
    now_s = newest_s(blocks) + later_s
    with exact_up_to(exact_max):
        merged = merge_audience([folded(make, blocks).partial()], now_s)
    assert (merged.viewers, merged.uniques, merged.exact) == naive(blocks, now_s, exact_max)
    assert merged.relative_error == (0 if merged.exact else limits.AUDIENCE_RELATIVE_ERROR)


@given(HISTORIES, st.integers(1, 4), LATER)
def test_partitions_merge_into_one_count_of_all(blocks: list[Blocked], shares: int, later_s: float) -> None:
    now_s = newest_s(blocks) + later_s
    parts = [folded(make, share).partial() for share in split(blocks, shares)]
    one = folded(make, blocks).partial()
    assert merge_audience(parts, now_s) == merge_audience([one], now_s)


@IN_BOTH_WAYS
@given(blocks=HISTORIES, flushed_after=st.sets(st.integers(0, 11)), taken_at=st.integers(0, 12))
def test_stored_state_and_later_changes_are_the_audience(
    exact_max: int, blocks: list[Blocked], flushed_after: set[int], taken_at: int
) -> None:
    with exact_up_to(exact_max):
        check_stores(make, blocks, flushed_after, taken_at)


@IN_BOTH_WAYS
@given(blocks=HISTORIES, of_guests=st.sets(st.integers(0, 11)), flushed_after=st.sets(st.integers(0, 11)))
def test_guests_count_among_all_and_by_themselves_also_as_they_are_stored(
    exact_max: int, blocks: list[Blocked], of_guests: set[int], flushed_after: set[int]
) -> None:
    told = [dataclasses.replace(block, guests=at in of_guests) for at, block in enumerate(blocks)]
    with exact_up_to(exact_max):
        together = folded(make, told).partial()
        theirs = [dataclasses.replace(block, guests=False) for block in told if block.guests]
        guests = folded(make, theirs).partial()
        if guests.uniques:
            assert together.guests == guests
        else:
            assert not together.HasField("guests")
        together.ClearField("guests")
        assert together == folded(make, blocks).partial()
        check_stores(make, told, flushed_after, len(blocks) // 2)


def test_guests_are_told_apart_in_the_merge_and_fade_like_all() -> None:
    blocks = [
        Blocked(NOW_US, (Told("a", HERE), Told("b", HERE))),
        Blocked(NOW_US, (Told("c", HERE), Told("d", GONE)), guests=True),
    ]
    partial = folded(make, blocks).partial()
    merged = merge_audience([partial, partial], NOW_S)
    assert (merged.viewers, merged.uniques, merged.guest_viewers, merged.guest_uniques) == (6, 8, 2, 4)
    faded = merge_audience([partial], NOW_S + limits.PRESENCE_S + limits.AUDIENCE_PANE_S)
    assert (faded.viewers, faded.guest_viewers, faded.guest_uniques) == (0, 0, 2)


def test_a_viewer_counts_until_its_presence_is_too_old_or_it_is_gone() -> None:
    blocks = [Blocked(NOW_US, (Told("a", HERE), Told("b", HERE)))]
    fold = folded(make, blocks)
    last_s = NOW_S + limits.PRESENCE_S
    assert merge_audience([fold.partial()], last_s).viewers == 2
    faded_s = last_s + limits.AUDIENCE_PANE_S
    assert audience_moves_at_s(fold.partial(), last_s) == faded_s
    assert merge_audience([fold.partial()], faded_s).viewers == 0
    assert merge_audience([fold.partial()], faded_s).uniques == 2
    assert audience_moves_at_s(fold.partial(), faded_s) is None
    assert fold.fold(rows_of(Blocked(NOW_US + 1, (Told("b", GONE),))))
    assert merge_audience([fold.partial()], NOW_S).viewers == 1


def test_the_oldest_pane_that_counts_is_told() -> None:
    """Somebody else's presence as late as can be while it still counts."""
    oldest_us = NOW_US // 5_000_000 * 5_000_000
    blocks = [Blocked(oldest_us, (Told("a", HERE),)), Blocked(oldest_us + 45_000_000, (Told("b", HERE),))]
    partial = folded(make, blocks).partial()
    assert list(partial.last_seen) == [1, 1]
    assert merge_audience([partial], oldest_us / 1e6 + 49.9).viewers == 2
    assert merge_audience([partial], oldest_us / 1e6 + 50).viewers == 1


def test_who_was_here_too_long_ago_is_a_unique_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate_bounds, "AUDIENCE_EXACT_MAX", 0)
    fold = folded(
        make, [Blocked(NOW_US, (Told("a", HERE),)), Blocked(NOW_US - 50_000_000, (Told("b", HERE),))]
    )
    assert list(fold.partial().last_seen) == [1]
    assert fold.partial().uniques == 2


def in_place(source: int, state: int) -> Told:
    return Told("ann", state + 256 * source)


def test_who_leaves_one_of_two_gateways_is_still_a_viewer_and_counts_once() -> None:
    fold = folded(make, [Blocked(NOW_US, (in_place(1, HERE),)), Blocked(NOW_US + 1, (in_place(2, HERE),))])
    assert merge_audience([fold.partial()], NOW_S).viewers == 1
    fold.fold(rows_of(Blocked(NOW_US + 2, (in_place(2, GONE),))))
    assert merge_audience([fold.partial()], NOW_S).viewers == 1
    fold.fold(rows_of(Blocked(NOW_US + 3, (in_place(1, GONE),))))
    assert merge_audience([fold.partial()], NOW_S) == AudienceResult(uniques=1, exact=True)


def test_what_a_killed_gateway_said_fades_whatever_others_say() -> None:
    fold = folded(make, [Blocked(NOW_US, (in_place(1, HERE), in_place(2, HERE), in_place(2, GONE)))])
    assert merge_audience([fold.partial()], NOW_S + limits.PRESENCE_S).viewers == 1
    assert merge_audience([fold.partial()], NOW_S + limits.PRESENCE_S + limits.AUDIENCE_PANE_S).viewers == 0


def test_of_the_places_of_an_actor_only_the_newest_that_may_matter_are_kept() -> None:
    fold = folded(make, [Blocked(NOW_US + n, (in_place(n, HERE),)) for n in range(100)])
    assert len(stored(fold).heard) == 8 * aggregate_bounds.SOURCES_MAX
    fold.fold(rows_of(Blocked(NOW_US + 51_000_000, (in_place(200, HERE),))))
    assert len(stored(fold).heard) == 8


def test_a_state_without_sources_is_read() -> None:
    key = ids.actor_key("ann")
    old = AudienceLog(rows=[AudienceRows(actors=key, heard=(NOW_US * 2 + 1).to_bytes(8, "little"))])
    fold = make(FoldState(logs={"": old.SerializeToString()}))
    assert_same(fold, folded(make, [Blocked(NOW_US, (in_place(0, HERE),))]))
    assert old.rows[0] == stored(fold)


def stored(fold: Fold) -> AudienceRows:
    (change,) = fold.encode()
    assert isinstance(change, Replace)
    return AudienceLog.FromString(change.log).rows[0]


@given(blocks=histories(CROWDED, span_s=60), flushed_after=st.sets(st.integers(0, 11)))
def test_what_is_forgotten_of_a_restless_actor_is_not_missed_by_a_state_that_is_read_again(
    blocks: list[Blocked], flushed_after: set[int]
) -> None:
    check_stores(make, blocks, flushed_after, 3)


def test_a_goodbye_stored_before_an_earlier_presence_stands() -> None:
    blocks = [Blocked(NOW_US + 5, (Told("a", GONE),)), Blocked(NOW_US, (Told("a", HERE),))]
    assert merge_audience([folded(make, blocks).partial()], NOW_S).viewers == 0


def crowd(start: int, count: int) -> tuple[Told, ...]:
    return tuple(Told(f"fan{i}", HERE) for i in range(start, start + count))


def sketched(monkeypatch: pytest.MonkeyPatch, order: int) -> Audience:
    """8,000 actors: 4,000 at first, and ten seconds later 4,000 of whom half are new; `order` varies
    the order within each moment."""
    monkeypatch.setattr(aggregate_bounds, "AUDIENCE_EXACT_MAX", 1_000)
    moments = [(NOW_US, crowd(0, 4_000)), (NOW_US + 10_000_000, crowd(2_000, 6_000))]
    fold = make(FoldState())
    for at_us, events in moments:
        shuffled = sorted(events, key=lambda e: hashlib.sha256(f"{order}{e.actor}".encode()).digest())
        for at in range(0, len(shuffled), 500):
            fold.fold(rows_of(Blocked(at_us, tuple(shuffled[at : at + 500]))))
    return fold


def test_a_sketched_audience_is_near_the_truth_and_says_how_near(monkeypatch: pytest.MonkeyPatch) -> None:
    partial = sketched(monkeypatch, 0).partial()
    now = merge_audience([partial], NOW_S + 10)
    assert not now.exact
    assert now.relative_error == pytest.approx(0.008, abs=0.0005)
    assert now.uniques == pytest.approx(8_000, rel=4 * now.relative_error)
    assert now.viewers == pytest.approx(8_000, rel=4 * now.relative_error)
    only_the_later = merge_audience([partial], NOW_S + 10 + limits.PRESENCE_S)
    assert only_the_later.viewers == pytest.approx(6_000, rel=4 * now.relative_error)
    assert merge_audience([partial], NOW_S + 70).viewers == 0


def test_a_sketched_audience_does_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same(sketched(monkeypatch, 1), sketched(monkeypatch, 2))


def test_beside_a_sketched_partition_the_audience_is_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = folded(make, [Blocked(NOW_US, (Told("a", HERE),))]).partial()
    merged = merge_audience([exact, sketched(monkeypatch, 0).partial()], NOW_S)
    assert not merged.exact
    assert merged.relative_error > 0


def test_becoming_a_sketch_changes_the_numbers_by_no_more_than_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aggregate_bounds, "AUDIENCE_EXACT_MAX", 1_000)
    fold = folded(make, [Blocked(NOW_US, crowd(0, 1_000))])
    assert merge_audience([fold.partial()], NOW_S).exact
    assert isinstance(fold.delta()[0], Append)
    fold.fold(rows_of(Blocked(NOW_US, crowd(1_000, 1))))
    assert isinstance(fold.delta()[0], Replace), "the actors' rows are not needed any more"
    merged = merge_audience([fold.partial()], NOW_S)
    assert not merged.exact
    assert merged.viewers == merged.uniques
    assert merged.uniques == pytest.approx(1_001, rel=4 * merged.relative_error)


@IN_BOTH_WAYS
def test_a_log_is_appended_to_and_written_anew_when_it_is_three_times_too_long(
    monkeypatch: pytest.MonkeyPatch, exact_max: int
) -> None:
    monkeypatch.setattr(aggregate_bounds, "AUDIENCE_EXACT_MAX", exact_max)
    monkeypatch.setattr(aggregate_bounds, "LOG_BYTES_MIN", 2_000)
    fold, store = make(FoldState()), Store()
    kinds = []
    for second in range(120):
        fold.fold(rows_of(Blocked(NOW_US + second * 5_000_000, crowd(0, 10))))
        changes = fold.delta()
        store.apply(changes)
        kinds += [type(change) for change in changes]
        assert len(store.logs[""]) < 4_000
        assert_same(make(store.state()), fold)
    assert kinds.count(Append) > 50
    assert kinds.count(Replace) > 1


KEYS = st.lists(st.integers(0, 2**128 - 1), max_size=60)


def registers_of(keys: list[int]) -> cardinality.U8:
    registers = cardinality.empty()
    columns = np.frombuffer(b"".join(k.to_bytes(16, "little") for k in keys), "<u8").reshape(-1, 2)
    cardinality.raise_to(registers, *cardinality.place(columns))
    return registers


@given(KEYS, KEYS)
def test_sketches_of_parts_are_the_sketch_of_all(some: list[int], others: list[int]) -> None:
    union = np.maximum(registers_of(some), registers_of(others))
    assert (union == registers_of(others + some)).all()
    assert cardinality.estimate(union) >= cardinality.estimate(registers_of(some))


@given(st.integers(0, 2**128 - 1))
def test_a_rank_is_the_place_of_the_first_bit_that_is_set(key: int) -> None:
    register, rank = key % cardinality.REGISTERS, 1
    while rank <= 53 and not key >> (128 - rank) & 1:
        rank += 1
    registers = registers_of([key])
    assert registers[register] == rank
    assert np.count_nonzero(registers) == 1


@pytest.mark.parametrize("count", [1, 10, 1_000, 30_000, 100_000, 300_000])
def test_an_estimate_errs_as_stated(count: int) -> None:
    """Ten sketches of different keys: their mean square error is the standard error, within chance."""
    rng = np.random.default_rng(count)
    errors = []
    for _ in range(10):
        registers = cardinality.empty()
        keys = rng.integers(0, 2**64, (count, 2), np.uint64)
        cardinality.raise_to(registers, *cardinality.place(keys))
        errors.append(cardinality.estimate(registers) / count - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 1.8 * limits.AUDIENCE_RELATIVE_ERROR
