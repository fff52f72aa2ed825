"""What is revoked, and until when; and where it is written (the pure core)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire.errors import Exhausted
from mesh import limits
from mesh.auth import Identity, Revocation, Revocations
from mesh.auth.revocations import key_of

NOW = 1_800_000_000.0
LIFE_S = limits.TOKEN_LIFE_MAX_S


def identity(actor_id: str = "ann", token_id: str = "", issued_at_s: float = NOW - 60) -> Identity:
    return Identity(actor_id, False, None, NOW + 3600, token_id=token_id, issued_at_s=issued_at_s)


def of_actor(actor_id: str = "ann", before_s: float = NOW, kept_until_s: float = NOW + LIFE_S) -> Revocation:
    return Revocation(actor_id, "", before_s, kept_until_s, NOW)


def of_all(before_s: float = NOW, kept_until_s: float = NOW + LIFE_S) -> Revocation:
    return Revocation("", "", before_s, kept_until_s, NOW)


def of_token(token_id: str = "t-1", kept_until_s: float = NOW + LIFE_S) -> Revocation:
    return Revocation("", token_id, 0.0, kept_until_s, NOW)


class Bucket:
    """Stores as aggregate's writer does, one revision after the other."""

    def __init__(self, slots_max: int = 100) -> None:
        self.revocations = Revocations(slots_max)
        self.revision = 0

    def store(self, asked: Revocation, now_s: float = NOW) -> int:
        slot, revocation = self.revocations.place(asked, now_s)
        self.revision += 1
        self.revocations.put(key_of(slot), self.revision, revocation.encoded().SerializeToString())
        return slot

    def revokes(self, found: Identity, now_s: float = NOW) -> bool:
        return self.revocations.covering(found, now_s) is not None


def test_an_actors_tokens_that_were_issued_before_are_revoked_and_nobody_elses() -> None:
    bucket = Bucket()
    bucket.store(of_actor())
    assert bucket.revokes(identity())
    assert bucket.revokes(identity(issued_at_s=0.0)), "one without iat is older than any"
    assert not bucket.revokes(identity(issued_at_s=NOW)), "what is issued later is good"
    assert not bucket.revokes(identity("bob"))
    assert not bucket.revokes(identity(""))
    assert not bucket.revokes(replace(identity(), of_mesh=True)), "the mesh's own are another matter"
    found = bucket.revocations.covering(identity(), NOW)
    assert found is not None
    assert found.said() == "all of actor 'ann' issued before 2027-01-15T08:00:00Z"


def test_a_token_id_revokes_that_token_alone() -> None:
    bucket = Bucket()
    bucket.store(of_token())
    assert bucket.revokes(identity(token_id="t-1", issued_at_s=NOW + 5))
    assert not bucket.revokes(identity(token_id="t-2"))
    assert not bucket.revokes(identity())


def test_everybodys_tokens_are_revoked_by_their_time() -> None:
    bucket = Bucket()
    bucket.store(of_all())
    assert all(bucket.revokes(identity(actor_id)) for actor_id in ("ann", "bob", ""))
    assert not bucket.revokes(identity(issued_at_s=NOW))


def test_a_revocation_is_over_when_no_token_of_it_can_be_good() -> None:
    bucket = Bucket()
    bucket.store(of_actor(kept_until_s=NOW + 10))
    assert [bucket.revokes(identity(), NOW + passed_s) for passed_s in (9.9, 10)] == [True, False]


def test_what_is_revoked_again_keeps_its_slot_and_covers_both() -> None:
    bucket = Bucket()
    assert bucket.store(of_actor(before_s=NOW - 10, kept_until_s=NOW + 90)) == bucket.store(of_actor())
    assert bucket.revocations.count == 1
    bucket.store(of_actor(before_s=NOW - 100, kept_until_s=NOW + 5))
    assert bucket.revokes(identity(issued_at_s=NOW - 1), NOW + 60), "neither shortens the other"


def test_a_full_table_refuses_names_the_bound_and_says_what_makes_room() -> None:
    bucket = Bucket(slots_max=3)
    for number in range(3):
        bucket.store(of_actor(f"a-{number}", kept_until_s=NOW + 100 + number))
    with pytest.raises(
        Exhausted, match=r"3 revocations .* first is over at 2027-01-15T08:01:40Z; revoke all"
    ):
        bucket.store(of_token())
    bucket.store(of_actor("a-1", kept_until_s=NOW + 500))  # known: needs no other
    assert bucket.store(of_token(), NOW + 100) == 0, "the first is over, and its slot is free"
    assert all(bucket.revokes(identity(actor_id)) for actor_id in ("a-1", "a-2"))


def test_revoking_everything_frees_what_it_covers() -> None:
    bucket = Bucket(slots_max=4)
    bucket.store(of_actor("ann", before_s=NOW - 50))
    bucket.store(of_token("old"))
    bucket.store(of_actor("bob", before_s=NOW + 100))
    bucket.store(of_actor("cem"))
    bucket.store(
        of_all(before_s=NOW + limits.TOKEN_LEEWAY_S, kept_until_s=NOW + limits.TOKEN_LEEWAY_S + LIFE_S)
    )
    later = {name: replace(of_token(name), revoked_at_s=NOW + 60) for name in ("a", "b", "c")}
    assert {bucket.store(later[name]) for name in ("a", "b")} == {1, 3}, "it is in the first one's slot"
    with pytest.raises(Exhausted):
        bucket.store(later["c"])
    assert bucket.revokes(identity("bob", issued_at_s=NOW + 99))


def test_entries_of_a_bucket_made_anew_are_put_back_and_replaced() -> None:
    bucket = Bucket()
    bucket.store(of_actor())
    assert bucket.revocations.unbacked() == []
    bucket.revocations.forget_revisions()
    ((key, value),) = bucket.revocations.unbacked()
    assert bucket.revokes(identity())
    assert not bucket.revocations.put(key, 1, value), "it is what was known"
    assert bucket.revocations.unbacked() == []


names = st.sampled_from(["ann", "bob", "cem"])
times = st.integers(-20, 20).map(lambda offset: NOW + offset)
revoked = st.one_of(
    st.builds(of_actor, names, times, times),
    st.builds(of_token, names, times),
    st.builds(of_all, times, times),
)


@given(
    st.lists(st.tuples(st.integers(0, 4), revoked), max_size=12),
    st.builds(identity, names, st.one_of(st.just(""), names), times),
    times,
)
def test_the_look_up_agrees_with_a_search_of_all_slots(
    entries: list[tuple[int, Revocation]], found: Identity, now_s: float
) -> None:
    table, slots = Revocations(), dict[int, Revocation]()
    for revision, (slot, revocation) in enumerate(entries, 1):
        table.put(key_of(slot), revision, revocation.encoded().SerializeToString())
        table.put(key_of(slot), revision - 1, of_all().encoded().SerializeToString())
        slots[slot] = revocation
    expected = any(revocation.covers(found, now_s) for revocation in slots.values())
    assert (table.covering(found, now_s) is not None) is expected
    assert table.count == len(slots)


@given(
    st.lists(st.tuples(revoked, times), max_size=15),
    st.builds(identity, names, st.one_of(st.just(""), names), st.integers(-40, -20).map(lambda s: NOW + s)),
    times,
)
def test_a_slot_that_is_used_again_makes_no_token_good(
    asked: list[tuple[Revocation, float]], found: Identity, at_s: float
) -> None:
    """However few the slots: what was answered holds until it is over. Tokens here are older than all
    revocations, as those are that exist when something is revoked."""
    bucket, held = Bucket(slots_max=2), list[Revocation]()
    now_s = NOW - 20
    for revocation, then_s in asked:
        now_s = max(now_s, then_s)
        try:
            bucket.store(revocation, now_s)
        except Exhausted:
            continue
        held.append(revocation)
    at_s = max(at_s, now_s)
    if any(revocation.covers(found, at_s) for revocation in held):
        assert bucket.revokes(found, at_s)
