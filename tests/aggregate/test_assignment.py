"""Who shall own which partition: one owner each, and nothing moves that need not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.assignment import owner_of, share_of
from grandstand.wire import bounds as wire_bounds

PARTITIONS = range(wire_bounds.PARTITIONS)
names = st.lists(st.text("abcdefgh-0123456789", min_size=1, max_size=12), min_size=1, max_size=9, unique=True)


def owners(instances: list[str]) -> dict[int, str | None]:
    return {p: owner_of(p, instances) for p in PARTITIONS}


@given(names)
def test_i3_each_partition_is_the_share_of_exactly_one_worker(instances: list[str]) -> None:
    shares = [share_of(instance, instances) for instance in instances]
    assert sorted(p for share in shares for p in share) == list(PARTITIONS)


@given(names, st.randoms())
def test_every_worker_comes_to_the_same_answer_whatever_order_it_heard_the_others_in(
    instances: list[str], random: object
) -> None:
    shuffled = list(instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert owners(instances) == owners(shuffled)


@given(names, st.text("xyz", min_size=1, max_size=9))
def test_a_worker_that_comes_moves_only_what_is_now_its_own(instances: list[str], newcomer: str) -> None:
    before, after = owners(instances), owners([*instances, newcomer])
    moved = {p for p in PARTITIONS if before[p] != after[p]}
    assert moved == share_of(newcomer, instances)


@given(names.filter(lambda found: len(found) > 1), st.data())
def test_a_worker_that_goes_moves_only_what_was_its_own(instances: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(instances))
    before, after = owners(instances), owners([i for i in instances if i != gone])
    assert {p for p in PARTITIONS if before[p] != after[p]} == share_of(gone, instances)


@settings(deadline=None, max_examples=30)
@given(names)
def test_many_partitions_are_shared_evenly(instances: list[str]) -> None:
    partitions = 512
    mean = partitions / len(instances)
    deviation = math.sqrt(mean)
    for instance in instances:
        assert abs(len(share_of(instance, instances, partitions)) - mean) <= 6 * deviation


@pytest.mark.parametrize("workers", range(1, 9))
def test_the_workers_of_up_get_a_fair_share(workers: int) -> None:
    instances = [f"aggregate-{n}" for n in range(1, workers + 1)]
    shares = [len(share_of(instance, instances)) for instance in instances]
    assert max(shares) <= math.ceil(wire_bounds.PARTITIONS / workers) + 1
    assert min(shares) >= 1


def test_a_share_is_the_same_in_every_release() -> None:
    """A mesh is upgraded worker by worker: the old and the new must agree."""
    assert sorted(share_of("aggregate-1", ["aggregate-2", "aggregate-3"])) == [4, 8, 9, 12, 13]


def test_nobody_is_the_owner_when_nobody_lives() -> None:
    assert owner_of(3, []) is None
