"""Retries spread out: full jitter under an exponential ceiling."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from grandstand.client.backoff import Backoff


@given(attempt=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_a_delay_lies_between_nothing_and_the_ceiling(attempt: int, seed: int) -> None:
    backoff = Backoff(base_s=0.1, cap_s=2.0)
    assert 0.0 <= backoff.delay_s(attempt, Random(seed)) <= backoff.ceiling_s(attempt) <= 2.0


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base_s=0.1, cap_s=1.0)
    assert [backoff.ceiling_s(attempt) for attempt in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
