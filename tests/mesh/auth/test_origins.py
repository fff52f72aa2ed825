"""I2: whose an origin is, is in the origin itself; and how many are issued."""

from __future__ import annotations

import itertools
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted
from mesh.auth import Identity, mint
from mesh.auth.keys import MESH_KID, parse_mesh_keys
from mesh.auth.origins import ENTROPY_BYTES, Origins, tag_key

NOW_S = 1_800_000_000.0
KEY = bytes(range(32))
# Ids are opaque: whatever text a platform signs.
owners = st.text(min_size=1, max_size=128)
entropies = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)


def by(owner: str, *, producer: bool = False) -> Identity:
    return Identity(owner, producer, None, NOW_S + 3600)


def origins(*keys: bytes, **bounds: int) -> Origins:
    found = keys or (KEY,)
    return Origins(lambda: found, **bounds)


def issued(who: Origins, owner: str, *, producer: bool = False, entropy: bytes = bytes(5)) -> str:
    return who.issue(by(owner), producer=producer, now_s=NOW_S, at_s=0.0, entropy=entropy)


@given(owners, entropies, st.booleans())
def test_an_origin_is_its_owners_alone_and_has_the_form_it_always_had(
    owner: str, entropy: bytes, producer: bool
) -> None:
    origin_id = issued(origins(), owner, producer=producer, entropy=entropy)
    assert ids.check_origin("origin", origin_id, NOW_S) == origin_id
    assert (len(origin_id), len(ids.origin_key(origin_id))) == (33, 16)
    assert origins().refusal(origin_id, by(owner), producer=producer, now_s=NOW_S) == ""
    assert origins().refusal(origin_id, by(owner), producer=not producer, now_s=NOW_S)
    assert origins().refusal(origin_id, by(owner + "x"), producer=producer, now_s=NOW_S)
    assert origins(b"another").refusal(origin_id, by(owner), producer=producer, now_s=NOW_S)


@given(owners, st.integers(1, 32), st.integers(1, 15))
def test_an_origin_that_was_changed_anywhere_is_not_taken(owner: str, at: int, by_: int) -> None:
    origin_id = issued(origins(), owner)
    changed = f"{origin_id[:at]}{int(origin_id[at], 16) ^ by_:x}{origin_id[at + 1 :]}"
    # The time may move it out of its life, too; either way it is refused.
    assert origins().refusal(changed, by(owner), producer=False, now_s=NOW_S)


def test_its_life_is_bounded_and_not_by_the_keys_alone() -> None:
    origin_id = issued(origins(), "ann")
    for age_s, why in (
        (wire_bounds.ORIGIN_AGE_MAX_S + 60, "24.0 h old"),
        (-wire_bounds.ORIGIN_CLOCK_SKEW_MAX_S - 60, "in the future"),
    ):
        assert why in origins().refusal(origin_id, by("ann"), producer=False, now_s=NOW_S + age_s)


def test_keys_are_rotated_without_a_foreign_origin_and_a_key_that_left_tags_no_more() -> None:
    """Added at the end, moved to the front, taken out; instances read each step at moments of their own."""
    old, new = b"old", b"new"
    steps = [(old,), (old, new), (new, old), (new,)]
    for before, after in itertools.pairwise(steps[:-1]):
        for writes, reads in ((before, after), (after, before)):
            origin_id = issued(origins(*writes), "ann")
            assert origins(*reads).refusal(origin_id, by("ann"), producer=False, now_s=NOW_S) == ""
    of_old = issued(origins(old, new), "ann")
    assert "or its key is gone" in origins(new).refusal(of_old, by("ann"), producer=False, now_s=NOW_S)
    assert (
        origins(new).refusal(issued(origins(new, old), "ann"), by("ann"), producer=False, now_s=NOW_S) == ""
    )


def test_the_key_of_tags_is_the_mesh_keys_alone_and_does_not_show_it() -> None:
    documents = [json.dumps(mint.ed25519_jwk(MESH_KID, bytes([n]) * 32)).encode() for n in (1, 2)]
    (first,), (again,), (other,) = map(parse_mesh_keys, (documents[0], documents[0], documents[1]))
    assert tag_key(first) == tag_key(again) != tag_key(other)
    assert isinstance(first.jwk.key, Ed25519PrivateKey)
    assert tag_key(first) != first.jwk.key.private_bytes_raw()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 20.0)), max_size=120))
def test_no_owner_gets_more_than_its_rate_whatever_the_others_do(asked: list[tuple[str, float]]) -> None:
    who, at_s = origins(actor_max=6), 0.0
    got: dict[str, list[float]] = {}
    for owner, after_s in asked:
        at_s += after_s
        refusal = None
        try:
            who.issue(by(owner), producer=False, now_s=NOW_S, at_s=at_s, entropy=bytes(5))
        except Exhausted as error:
            refusal = error
        if refusal is None:
            got.setdefault(owner, []).append(at_s)
        else:
            assert 0 < (refusal.retry_after_s or 0) <= 10.0 + 1e-6
            assert len(got.get(owner, ())) >= 6, "nobody is refused before that"
    for times in got.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                allowed = 6 + (times[last] - times[first]) / 10.0
                assert last - first + 1 <= allowed + 1e-6


def test_who_was_refused_gets_one_when_it_was_told_to_come_again() -> None:
    who = origins(actor_max=3)
    for _ in range(3):
        issued(who, "ann")
    with pytest.raises(Exhausted) as told:
        issued(who, "ann")
    assert told.value.retry_after_s == pytest.approx(20.0)
    who.issue(by("ann"), producer=False, now_s=NOW_S, at_s=20.0, entropy=bytes(5))


def test_a_producer_may_have_more_and_the_mesh_itself_any_number() -> None:
    who = origins(actor_max=2, producer_max=5)
    for _ in range(5):
        who.issue(by("srv", producer=True), producer=True, now_s=NOW_S, at_s=0.0, entropy=bytes(5))
    with pytest.raises(Exhausted, match="producer 'srv' asked for 5 origins"):
        who.issue(by("srv", producer=True), producer=True, now_s=NOW_S, at_s=0.0, entropy=bytes(5))
    gateway = Identity("", True, None, NOW_S + 60, of_mesh=True)
    for _ in range(20):
        who.issue(gateway, producer=True, now_s=NOW_S, at_s=0.0, entropy=bytes(5))


def test_i7_no_more_owners_are_remembered_than_may_be_and_none_for_longer_than_it_owes() -> None:
    who = origins(actor_max=2, owners_max=10)
    for n in range(100):
        issued(who, f"a{n}")
    assert len(who) == 10
    who.issue(by("late"), producer=False, now_s=NOW_S, at_s=61.0, entropy=bytes(5))
    assert len(who) == 1
