"""Reads that wait are bounded by address and in all."""

from __future__ import annotations

import contextlib

import pytest

from aggregate.waiting_reads import WaitingReads
from grandstand.wire.errors import Exhausted


def test_one_address_leaves_room_for_others_and_all_together_have_a_bound() -> None:
    waiting = WaitingReads(lambda: 0.5, at_once_max=5, per_address_max=2)
    with contextlib.ExitStack() as inside:
        for _ in range(2):
            inside.enter_context(waiting.entered(1))
        with pytest.raises(Exhausted, match=r"2 reads from this address .* may have 2: .* in 1\.5 s") as full:
            inside.enter_context(waiting.entered(1))
        assert full.value.retry_after_s == 1.5
        for address in (2, None, None):
            inside.enter_context(waiting.entered(address))
        with pytest.raises(Exhausted, match=r"5 reads wait .* this instance may have 5"):
            inside.enter_context(waiting.entered(3))
    assert not waiting._addresses, "who waits no more is forgotten"
    with contextlib.ExitStack() as inside:
        for _ in range(5):
            inside.enter_context(waiting.entered(None))
