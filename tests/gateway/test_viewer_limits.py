"""Who may watch: bounds by gateway, actor and address, and how those turned away come back."""

from __future__ import annotations

import ipaddress
import math
import random
import tracemalloc
from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from gateway.own_addresses import own_addresses
from gateway.viewer_limits import ViewerAdmission, ViewerLimits, address_of
from grandstand.wire.errors import Exhausted
from mesh import limits

HOME, OFFICE = "203.0.113.7", "198.51.100.1"


def limits_of(viewers: int = 1_000, actor: int = 1_000, address: int = 1_000, seed: int = 1) -> ViewerLimits:
    return ViewerLimits(viewers, actor, address, random=random.Random(seed).random)


def refusal(
    at: ViewerLimits, actor_id: str | None = None, address: str = HOME, now_s: float = 0.0
) -> Exhausted:
    with pytest.raises(Exhausted) as caught:
        at.enter(actor_id, address, now_s)
    assert caught.value.retry_after_s is not None
    return caught.value


def delay(at: ViewerLimits, now_s: float = 0.0, address: str = HOME, actor_id: str | None = None) -> float:
    found = refusal(at, actor_id, address, now_s).retry_after_s
    assert found is not None
    return found


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from([None, "ann", "bob", "cid"]), st.sampled_from([HOME, OFFICE, "", "::1"])
            ),
            st.integers(0, 30),
        ),
        max_size=80,
    )
)
def test_no_order_of_comings_and_goings_breaks_a_bound_or_keeps_anybody_out_for_nothing(
    moves: list[tuple[str | None, str] | int],
) -> None:
    """A number is the admission that is handed back, perhaps for the second time."""
    at, admissions, inside = limits_of(10, 3, 5), list[ViewerAdmission](), dict[int, tuple[str | None, str]]()
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
                admissions.append(at.enter(actor_id, address, 0.0))
        assert at.viewers == len(inside)


def test_each_refusal_names_its_bound_and_the_way_out() -> None:
    at = limits_of(5, 2, 3)
    for actor_id in ("ann", "ann", None):
        at.enter(actor_id, HOME, 0.0)
    assert "actor 'ann' has 2 viewers on this gateway, the most one actor may have; close one" in str(
        refusal(at, "ann", OFFICE)
    )
    assert f"address {HOME} has 3 viewers on this gateway, the most one address" in str(refusal(at, "bob"))
    for _ in range(2):
        at.enter(None, OFFICE, 0.0)
    full = refusal(at, "bob", OFFICE)
    assert "this gateway has 5 viewers, the most it takes; another may have room" in str(full)
    assert f"come again in {full.retry_after_s:.1f} s" in str(full)


def test_an_ipv6_household_is_one_address_and_an_ipv4_one_in_ipv6_clothes_is_itself() -> None:
    at = limits_of(address=2)
    at.enter(None, "2001:db8:0:1::1", 0.0)
    at.enter(None, "2001:db8:0:1:ffff::2", 0.0)
    assert "address 2001:db8:0:1::/64 has 2" in str(refusal(at, None, "2001:db8:0:1::3"))
    at.enter(None, "2001:db8:0:2::1", 0.0)
    at.enter(None, HOME, 0.0)
    at.enter(None, f"::ffff:{HOME}", 0.0)
    assert f"address {HOME} has 2" in str(refusal(at, None, HOME))


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "unix:/run/x"])
def test_a_proxy_on_this_machine_is_no_address_of_a_viewer(address: str) -> None:
    at = limits_of(address=1)
    for _ in range(20):
        at.enter(None, address, 0.0)
    assert at.viewers == 20


def arrivals(times: list[float], within_s: float) -> int:
    """The most that come within any such time."""
    times = sorted(times)
    return max(bisect_left(times, start + within_s) - at for at, start in enumerate(times))


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=300), st.integers(0, 2**32))
def test_a_crowd_turned_away_comes_back_no_faster_than_the_rate(pauses: list[float], seed: int) -> None:
    at = limits_of(1, seed=seed)
    at.enter(None, OFFICE, 0.0)
    now_s, back = 0.0, list[float]()
    for pause_s in pauses:
        now_s += pause_s / 10
        after_s = delay(at, now_s)
        assert gateway_bounds.VIEWER_RETRY_MIN_S <= after_s <= gateway_bounds.VIEWER_RETRY_MAX_S
        back.append(now_s + after_s)
    # Each comes within its own turn: of the turns that overlap 0.1 s, one more than fit.
    assert arrivals(back, 0.1) <= 0.1 * gateway_bounds.VIEWER_RETRIES_PER_S + 1 + 1e-6


def test_the_delay_grows_with_how_many_were_turned_away_and_shrinks_with_time() -> None:
    at = limits_of(0)
    delays = [delay(at) for _ in range(5_000)]
    assert delays == sorted(delays)
    assert delays[0] < 1.01
    assert delays[-1] == pytest.approx(
        gateway_bounds.VIEWER_RETRY_MIN_S + 5_000 / gateway_bounds.VIEWER_RETRIES_PER_S, abs=0.01
    )
    assert delay(at, 5.0) == pytest.approx(delays[-1] - 5.0, abs=0.01)
    assert delay(at, 1_000.0) < 1.01


def test_a_crowd_beyond_all_turns_is_spread_by_chance_and_none_waits_longer() -> None:
    at = limits_of(0)
    delays = [delay(at) for _ in range(60_000)]
    beyond = delays[35_000:]
    assert (
        gateway_bounds.VIEWER_RETRY_MAX_S / 2
        <= min(beyond)
        <= max(beyond)
        <= gateway_bounds.VIEWER_RETRY_MAX_S
    )
    expected = len(beyond) / (gateway_bounds.VIEWER_RETRY_MAX_S / 2)
    seconds = Counter(int(after_s) for after_s in beyond)
    assert len(seconds) == gateway_bounds.VIEWER_RETRY_MAX_S / 2
    assert all(abs(n - expected) < 0.2 * expected for n in seconds.values())
    # And the turns themselves did not run away meanwhile.
    assert delay(at, gateway_bounds.VIEWER_RETRY_MAX_S) < 1.01


def test_a_crowd_that_comes_again_and_finds_the_gateway_full_still_does_not_bunch() -> None:
    """All of 3,000 come back as told, again and again: the rate holds each time."""
    at, waiting, back = limits_of(0), [0.0] * 3_000, list[float]()
    for _ in range(4):
        waiting = [now_s + delay(at, now_s) for now_s in sorted(waiting)]
        back += waiting
    assert arrivals(back, 1.0) <= gateway_bounds.VIEWER_RETRIES_PER_S + 2


def test_one_address_that_is_full_delays_nobody_elsewhere() -> None:
    at = limits_of(100, address=1)
    at.enter(None, HOME, 0.0)
    for _ in range(400):
        delay(at)
    assert delay(at) > 8
    at.enter(None, OFFICE, 0.0)
    assert delay(at, address=OFFICE) < 1.1


def test_an_admission_that_is_handed_back_twice_counts_once() -> None:
    at = limits_of(actor=3)
    admission, _, _ = (at.enter("ann", HOME, 0.0) for _ in range(3))
    at.leave(admission)
    at.leave(admission)
    assert at.viewers == 2
    at.enter("ann", HOME, 0.0)
    refusal(at, "ann")


def test_what_is_kept_goes_with_the_viewers() -> None:
    at = limits_of(address=2, actor=2)
    admissions = [at.enter("ann", HOME, 0.0) for _ in range(2)]
    for _ in range(50):
        delay(at, actor_id="ann")
        delay(at, actor_id="bob")
    for admission in admissions:
        at.leave(admission)
    assert at.viewers == 0
    assert (at._actors, at._addresses, at._turns) == ({}, {}, {})
    at.enter("ann", HOME, 0.0)


def test_a_viewer_costs_the_door_little_memory() -> None:
    names = [(f"actor-{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(limits.VIEWERS_MAX)]
    at = limits_of(limits.VIEWERS_MAX)
    tracemalloc.start()
    try:
        admissions = [at.enter(actor_id, address, 0.0) for actor_id, address in names]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / len(admissions) < 300


def test_a_gateway_too_hot_for_more_viewers_spreads_them_as_a_full_one() -> None:
    at = limits_of()
    first, second = at.refusal("this gateway runs hot", 0.0), at.refusal("this gateway runs hot", 0.0)
    assert str(first).startswith("this gateway runs hot; come again in 1.0 s")
    assert (first.retry_after_s or 0) < (second.retry_after_s or 0)


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        (None, "10.0.0.1"),
        ("", "10.0.0.1"),
        (HOME, HOME),
        (f"6.6.6.6, {HOME}", HOME),
        (f"6.6.6.6,{HOME} ", HOME),
        (f"{HOME},", "10.0.0.1"),
        (f"{HOME}, junk", "10.0.0.1"),
        (f"{HOME}, " + "1" * 10_000, "10.0.0.1"),
        ("6.6.6.6, 2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        (f"{HOME}:4711", f"{HOME}:4711"),
        ("999.1.1.1", "10.0.0.1"),
    ],
)
def test_the_last_word_of_the_proxies_is_believed_and_no_other(
    forwarded_for: str | None, address: str
) -> None:
    assert address_of(forwarded_for, "10.0.0.1") == address


@pytest.mark.parametrize("port", [f"{HOME}:4711", HOME])
def test_a_port_makes_no_other_address(port: str) -> None:
    at = limits_of(address=1)
    at.enter(None, HOME, 0.0)
    assert refusal(at, None, port)


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}", fullmatch=True),
        st.text("0123456789.:af\u0662 ", max_size=20),
    )
)
def test_an_address_is_what_the_standard_library_says_it_is(text: str) -> None:
    try:
        ipaddress.ip_address(text)
        is_one = True
    except ValueError:
        is_one = ":" in text and address_of(text, "") != ""  # with a port
    assert (address_of(text, "") != "") == is_one
    at = limits_of(address=1)
    at.enter(None, text, 0.0)
    if is_one and ":" not in text and not ipaddress.ip_address(text).is_loopback:
        assert f"address {text} has 1" in str(refusal(at, None, text))
        at.enter(None, str(ipaddress.ip_address(text) + 1) if text != "255.255.255.255" else "1.1.1.1", 0.0)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_junk_in_the_header_or_the_peer_is_an_error(forwarded_for: str, peer: str) -> None:
    at = limits_of()
    at.leave(at.enter(None, address_of(forwarded_for, peer), 0.0))
    assert not at.viewers


def test_the_bounds_are_those_of_limits() -> None:
    at = ViewerLimits(random=random.random)
    for n in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX):
        at.enter("ann", f"10.0.0.{n}", 0.0)
    refusal(at, "ann")
    for _ in range(gateway_bounds.VIEWERS_PER_ADDRESS_MAX):
        at.enter(None, HOME, 0.0)
    refusal(at)
    for n in range(limits.VIEWERS_MAX - at.viewers):
        at.enter(None, f"10.1.{n >> 8}.{n & 255}", 0.0)
    assert math.isclose(delay(at, address=OFFICE), 1.0, abs_tol=0.01)


def test_this_machines_own_addresses_have_no_bound_and_their_neighbours_have() -> None:
    own = "2001:db8::7", "198.51.100.7"
    at = ViewerLimits(per_address_max=1, random=random.random, own=own)
    for address in own:
        for _ in range(3):
            at.enter(None, address, 0.0)
    at.enter(None, "2001:db8::8", 0.0)
    refusal(at, address="2001:db8::9")


def test_the_addresses_of_this_machine_are_addresses() -> None:
    assert all(ipaddress.ip_address(address) for address in own_addresses())
