"""Chaos deletes one key of each kind of a partition's state, none of a lease, in an order of its seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.redis import layout
from toolbox.chaos.forgetting import Forgetting, kind_of

KINDS = (
    layout.applied_key,
    layout.stream_key,
    layout.manifest_key,
    layout.topics_key,
    lambda p: layout.results_key(p, "hot"),
    lambda p: layout.log_key(p, "origins"),
    lambda p: layout.log_key(p, "votes"),
    lambda p: layout.part_log_key(p, "hot", "pulse/cheer", "totals"),
    lambda p: layout.part_hash_key(p, "hot", "board/sum-1", "all"),
    lambda p: layout.part_ranking_key(p, "hot", "board/sum-1", "all"),
)


def keys(partitions: int) -> list[str]:
    made = [key(p) for key in (*KINDS, layout.lease_key) for p in range(partitions)]
    return [*made, layout.inbox_key("p0"), "{p1"]


@given(st.integers(0, 2**32), st.integers(1, 16))
def test_each_strike_takes_one_key_of_a_partition_and_they_take_each_kind_in_turn(
    seed: int, partitions: int
) -> None:
    forgetting = Forgetting(seed)
    chosen = []
    for _ in range(-(-len(KINDS) // partitions)):
        strike = forgetting.choose(keys(partitions))
        assert len(strike) == min(partitions, len(KINDS))
        for partition, (key, kind) in strike.items():
            assert kind_of(key) == (partition, kind)
            forgetting.forgotten[kind] += 1
        chosen += strike.values()
    assert len({kind for _, kind in chosen}) == len(KINDS)


def test_a_seed_chooses_the_same_keys() -> None:
    assert Forgetting(5).choose(keys(6)) == Forgetting(5).choose(reversed(keys(6)))


def test_what_is_of_no_partition_is_left_alone_and_a_lease_unless_it_is_asked_for() -> None:
    assert kind_of(layout.inbox_key("ann")) is None
    keys = [layout.lease_key(3), layout.inbox_key("ann")]
    assert Forgetting(1).choose(keys) == {}
    assert Forgetting(1).choose(keys, leases=True) == {3: (keys[0], "lease")}
