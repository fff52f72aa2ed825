"""How many streams there may be: of a process, an actor and an address; how those refused come back."""

from __future__ import annotations

import math
import random
import tracemalloc
from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from grandstand.wire.errors import Exhausted
from mesh import limits
from mesh.addresses import AddressKeys
from mesh.stream_limits import StreamAdmission, StreamBounds, StreamLimits

HOME, OFFICE = "203.0.113.7", "198.51.100.1"


def limits_of(viewers: int = 1_000, actor: int = 1_000, address: int = 1_000, seed: int = 1) -> StreamLimits:
    bounds = StreamBounds("viewers", "gateway", viewers, actor, address, gateway_bounds.VIEWER_RETRIES_PER_S)
    return StreamLimits(bounds, random=random.Random(seed).random)


def key(address: str | None) -> int | None:
    return AddressKeys().of(None, address or "")


def refusal(
    at: StreamLimits, actor_id: str | None = None, address: str = HOME, now_s: float = 0.0
) -> Exhausted:
    with pytest.raises(Exhausted) as caught:
        at.enter(actor_id, key(address), now_s)
    assert caught.value.retry_after_s is not None
    return caught.value


def delay(at: StreamLimits, now_s: float = 0.0, address: str = HOME, actor_id: str | None = None) -> float:
    found = refusal(at, actor_id, address, now_s).retry_after_s
    assert found is not None
    return found


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([None, "ann", "bob", "cid"]), st.sampled_from([HOME, OFFICE, ""])),
            st.integers(0, 30),
        ),
        max_size=80,
    )
)
def test_no_order_of_comings_and_goings_breaks_a_bound_or_keeps_anybody_out_for_nothing(
    moves: list[tuple[str | None, str] | int],
) -> None:
    """A number is the admission that is handed back, perhaps for the second time."""
    at, admissions, inside = limits_of(10, 3, 5), list[StreamAdmission](), dict[int, tuple[str | None, str]]()
    for move in moves:
        if isinstance(move, int):
            if move < len(admissions):
                at.leave(admissions[move])
                inside.pop(move, None)
        else:
            actor_id, address = move
            actors = Counter(actor for actor, _ in inside.values())
            addresses = Counter(address for _, address in inside.values())
            is_full = (
                len(inside) >= 10
                or (actor_id is not None and actors[actor_id] >= 3)
                or (address in (HOME, OFFICE) and addresses[address] >= 5)
            )
            if is_full:
                assert refusal(at, actor_id, address).retry_after_s
            else:
                inside[len(admissions)] = move
                admissions.append(at.enter(actor_id, key(address), 0.0))
        assert at.streams == len(inside)


def test_each_refusal_names_its_bound_and_the_way_out() -> None:
    at = limits_of(5, 2, 3)
    for actor_id in ("ann", "ann", None):
        at.enter(actor_id, key(HOME), 0.0)
    assert "actor 'ann' has 2 viewers on this gateway, the most one actor may have; close one" in str(
        refusal(at, "ann", OFFICE)
    )
    assert f"address {HOME} has 3 viewers on this gateway, the most one address" in str(refusal(at, "bob"))
    for _ in range(2):
        at.enter(None, key(OFFICE), 0.0)
    full = refusal(at, "bob", OFFICE)
    assert "this gateway has 5 viewers, the most it takes; another may have room" in str(full)
    assert f"come again in {full.retry_after_s:.1f} s" in str(full)


def test_a_stream_that_no_address_counts_for_has_no_bound_by_address() -> None:
    at = limits_of(address=1)
    for _ in range(20):
        at.enter(None, None, 0.0)
    assert at.streams == 20


def test_a_role_may_have_more_than_others_and_those_without_a_name_are_one() -> None:
    at = limits_of(actor=1)
    for _ in range(3):
        at.enter("", None, 0.0, 3)
    with pytest.raises(Exhausted, match=r"actor '' \(tokens without a sub\) has 3 viewers"):
        at.enter("", None, 0.0, 3)
    at.enter("ann", None, 0.0)
    assert "has 1 viewers" in str(refusal(at, "ann"))


def arrivals(times: list[float], within_s: float) -> int:
    """The most that come within any such time."""
    times = sorted(times)
    return max(bisect_left(times, start + within_s) - at for at, start in enumerate(times))


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=300), st.integers(0, 2**32))
def test_a_crowd_turned_away_comes_back_no_faster_than_the_rate(pauses: list[float], seed: int) -> None:
    at = limits_of(1, seed=seed)
    at.enter(None, key(OFFICE), 0.0)
    now_s, back = 0.0, list[float]()
    for pause_s in pauses:
        now_s += pause_s / 10
        after_s = delay(at, now_s)
        assert limits.STREAM_RETRY_MIN_S <= after_s <= limits.STREAM_RETRY_MAX_S
        back.append(now_s + after_s)
    # Each comes within its own turn: of the turns that overlap 0.1 s, one more than fit.
    assert arrivals(back, 0.1) <= 0.1 * gateway_bounds.VIEWER_RETRIES_PER_S + 1 + 1e-6


def test_the_delay_grows_with_how_many_were_turned_away_and_shrinks_with_time() -> None:
    at = limits_of(0)
    delays = [delay(at) for _ in range(5_000)]
    assert delays == sorted(delays)
    assert delays[0] < 1.01
    assert delays[-1] == pytest.approx(
        limits.STREAM_RETRY_MIN_S + 5_000 / gateway_bounds.VIEWER_RETRIES_PER_S, abs=0.01
    )
    assert delay(at, 5.0) == pytest.approx(delays[-1] - 5.0, abs=0.01)
    assert delay(at, 1_000.0) < 1.01


def test_a_crowd_beyond_all_turns_is_spread_by_chance_and_none_waits_longer() -> None:
    at = limits_of(0)
    delays = [delay(at) for _ in range(60_000)]
    beyond = delays[35_000:]
    assert limits.STREAM_RETRY_MAX_S / 2 <= min(beyond) <= max(beyond) <= limits.STREAM_RETRY_MAX_S
    expected = len(beyond) / (limits.STREAM_RETRY_MAX_S / 2)
    seconds = Counter(int(after_s) for after_s in beyond)
    assert len(seconds) == limits.STREAM_RETRY_MAX_S / 2
    assert all(abs(n - expected) < 0.2 * expected for n in seconds.values())
    # And the turns themselves did not run away meanwhile.
    assert delay(at, limits.STREAM_RETRY_MAX_S) < 1.01


def test_a_crowd_that_comes_again_and_finds_the_gateway_full_still_does_not_bunch() -> None:
    """All of 3,000 come back as told, again and again: the rate holds each time."""
    at, waiting, back = limits_of(0), [0.0] * 3_000, list[float]()
    for _ in range(4):
        waiting = [now_s + delay(at, now_s) for now_s in sorted(waiting)]
        back += waiting
    assert arrivals(back, 1.0) <= gateway_bounds.VIEWER_RETRIES_PER_S + 2


def test_one_address_that_is_full_delays_nobody_elsewhere() -> None:
    at = limits_of(100, address=1)
    at.enter(None, key(HOME), 0.0)
    for _ in range(400):
        delay(at)
    assert delay(at) > 8
    at.enter(None, key(OFFICE), 0.0)
    assert delay(at, address=OFFICE) < 1.1


def test_an_admission_that_is_handed_back_twice_counts_once() -> None:
    at = limits_of(actor=3)
    admission, _, _ = (at.enter("ann", key(HOME), 0.0) for _ in range(3))
    at.leave(admission)
    at.leave(admission)
    assert at.streams == 2
    at.enter("ann", key(HOME), 0.0)
    refusal(at, "ann")


def test_what_is_kept_goes_with_the_viewers() -> None:
    at = limits_of(address=2, actor=2)
    admissions = [at.enter("ann", key(HOME), 0.0) for _ in range(2)]
    for _ in range(50):
        delay(at, actor_id="ann")
        delay(at, actor_id="bob")
    for admission in admissions:
        at.leave(admission)
    assert at.streams == 0
    assert (at._actors, at._addresses, at._turns) == ({}, {}, {})
    at.enter("ann", key(HOME), 0.0)


def test_a_viewer_costs_the_door_little_memory() -> None:
    names = [(f"actor-{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(limits.VIEWERS_MAX)]
    at = limits_of(limits.VIEWERS_MAX)
    tracemalloc.start()
    try:
        admissions = [at.enter(actor_id, key(address), 0.0) for actor_id, address in names]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / len(admissions) < 300


def test_a_gateway_too_hot_for_more_viewers_spreads_them_as_a_full_one() -> None:
    at = limits_of()
    first, second = at.refusal("this gateway runs hot", 0.0), at.refusal("this gateway runs hot", 0.0)
    assert str(first).startswith("this gateway runs hot; come again in 1.0 s")
    assert (first.retry_after_s or 0) < (second.retry_after_s or 0)


def test_the_bounds_are_those_of_limits() -> None:
    at = StreamLimits(gateway_bounds.VIEWER_BOUNDS, random=random.random)
    for n in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX):
        at.enter("ann", key(f"10.0.0.{n}"), 0.0)
    refusal(at, "ann")
    for _ in range(gateway_bounds.VIEWERS_PER_ADDRESS_MAX):
        at.enter(None, key(HOME), 0.0)
    refusal(at)
    for n in range(limits.VIEWERS_MAX - at.streams):
        at.enter(None, key(f"10.1.{n >> 8}.{n & 255}"), 0.0)
    assert math.isclose(delay(at, address=OFFICE), 1.0, abs_tol=0.01)
