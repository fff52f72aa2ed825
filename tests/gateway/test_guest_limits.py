"""Guests are bounded by address and in all; one address leaves room for the others, and the refused come back
one after the other."""

from __future__ import annotations

import random
import re

import pytest

from gateway import bounds
from gateway.guest_limits import GuestLimits
from grandstand.wire.errors import Exhausted

ANN, BOB = 1, 2


def admitted(limits: GuestLimits, address: int | None, at_s: float, tries: int) -> int:
    """How many of `tries` are."""
    count = 0
    for _ in range(tries):
        try:
            limits.admit(address, at_s)
        except Exhausted:
            return count
        count += 1
    return count


def test_a_stadium_behind_one_address_is_let_in_at_once_and_then_at_a_rate() -> None:
    limits = GuestLimits(lambda: 0.0)
    assert admitted(limits, ANN, 100.0, 9_999) == bounds.GUESTS_PER_ADDRESS_BURST == 2_000
    assert admitted(limits, ANN, 100.0, 1) == 0
    assert admitted(limits, ANN, 101.0, 99) == bounds.GUESTS_PER_ADDRESS_PER_S
    assert admitted(limits, ANN, 1e6, 9_999) == 2_000


def test_one_address_that_takes_all_it_may_leaves_room_for_others() -> None:
    limits = GuestLimits(lambda: 0.0)
    for attacker in range(10, 20):
        admitted(limits, attacker, 100.0, 9_999)
    for address in range(100, 150):
        assert admitted(limits, address, 100.0, bounds.GUESTS_FEW) == bounds.GUESTS_FEW
    with pytest.raises(Exhausted, match=re.escape("more than 200 guests a second")):
        admitted_all(limits, BOB, 100.0, bounds.GUESTS_RESERVED)


def admitted_all(limits: GuestLimits, address: int | None, at_s: float, tries: int) -> None:
    for _ in range(tries):
        limits.admit(address, at_s)


def test_where_no_bound_by_address_applies_the_gateways_own_does() -> None:
    limits = GuestLimits(lambda: 0.0)
    assert admitted(limits, None, 100.0, 9_999) == bounds.GUESTS_BURST
    assert admitted(limits, None, 100.5, 9_999) == bounds.GUESTS_PER_S / 2


def test_the_refused_come_back_one_after_the_other_and_find_room() -> None:
    limits = GuestLimits(random.Random(7).random)
    admitted(limits, ANN, 100.0, 9_999)
    waits: list[float] = []
    for _ in range(1_000):
        with pytest.raises(
            Exhausted, match=r"address 0\.0\.0\.1 took 2000 guests .* again in \d+\.\d s"
        ) as told:
            limits.admit(ANN, 100.0)
        assert told.value.retry_after_s is not None
        waits.append(told.value.retry_after_s)
    in_turn = waits[:500]
    assert in_turn == sorted(in_turn)
    assert max(waits) <= bounds.GUEST_RETRY_MAX_S + 1 / bounds.GUESTS_PER_ADDRESS_PER_S
    assert len(set(waits)) == len(waits)
    for wait in in_turn:
        limits.admit(ANN, 100.0 + wait + 0.01)


def test_addresses_are_forgotten_when_their_bucket_is_full_and_bounded_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "GUEST_ADDRESSES_MAX", 50)
    limits = GuestLimits(lambda: 0.0)
    for address in range(200):
        limits.admit(address, 100.0)
    assert len(limits._addresses) == 50
    limits.admit(ANN, 200.0)
    assert list(limits._addresses) == [ANN]
